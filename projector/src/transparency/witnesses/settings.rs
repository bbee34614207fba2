//! The witnesses that the operator has named.

use std::time::Duration;

use anyhow::{Context, ensure};
use clap::Args;
use event_log::transparency::cosignature::{WitnessKey, require_distinct};
use reqwest::Url;

/// The witnesses of the log.
#[derive(Args, Clone, Debug)]
#[group(skip)]
pub struct Settings {
    /// Witnesses that cosign checkpoints (C2SP tlog-witness), one per line: the public key, a space and the address, such as
    /// `https://witness.example.org`. Without any, checkpoints are not cosigned.
    #[arg(long, env)]
    pub witnesses: Option<String>,
    /// Number of witnesses that have to cosign a checkpoint before it is served as a cosigned one; 0 means all.
    #[arg(long, env, default_value_t = 0)]
    pub witness_quorum: usize,
    /// Interval at which the newest checkpoint is submitted to the witnesses.
    #[arg(long, env, default_value_t = 10_000)]
    pub witness_interval_ms: u64,
}

/// The witnesses, and how many of them have to cosign.
pub struct Named {
    pub witnesses: Vec<(WitnessKey, Url)>,
    pub quorum: usize,
    pub interval: Duration,
}

impl Settings {
    pub fn parse(&self) -> anyhow::Result<Option<Named>> {
        let lines = self.witnesses.iter().flat_map(|text| text.lines()).map(str::trim).filter(|line| !line.is_empty());
        let witnesses = lines.map(parse).collect::<anyhow::Result<Vec<_>>>().context("WITNESSES")?;
        if witnesses.is_empty() {
            return Ok(None);
        }
        require_distinct(witnesses.iter().map(|(key, _)| key)).context("WITNESSES")?;
        let (count, quorum) = (witnesses.len(), self.witness_quorum);
        ensure!(quorum <= count, "WITNESS_QUORUM is {quorum}, and WITNESSES names {count}");
        let quorum = if quorum == 0 { count } else { quorum };
        Ok(Some(Named { witnesses, quorum, interval: Duration::from_millis(self.witness_interval_ms) }))
    }
}

fn parse(line: &str) -> anyhow::Result<(WitnessKey, Url)> {
    let (key, address) = line.split_once(char::is_whitespace).with_context(|| format!("{line:?} has no address"))?;
    // Joining replaces the last part of a path without a slash at its end.
    let prefix = format!("{}/", address.trim().trim_end_matches('/'));
    let url = Url::parse(&prefix).and_then(|prefix| prefix.join("add-checkpoint"));
    Ok((WitnessKey::parse(key)?, url.with_context(|| format!("{address:?} is no address"))?))
}

#[cfg(test)]
mod tests {
    use event_log::transparency::{cosignature::CosigningKey, signed_checkpoint::generate_keys};

    use super::*;

    fn key(name: &str) -> String {
        CosigningKey::parse(&generate_keys(name).unwrap().0).unwrap().witness_key().to_string()
    }

    fn parsed(witnesses: &str, witness_quorum: usize) -> anyhow::Result<Option<Named>> {
        Settings { witnesses: Some(witnesses.to_owned()), witness_quorum, witness_interval_ms: 1 }.parse()
    }

    #[test]
    fn each_line_names_a_witness() {
        let [one, two] = ["a.example/1", "b.example/2"].map(key);
        let named =
            parsed(&format!("{one} https://a.example\n\n  {two}  http://127.0.0.1:1/w/ \n"), 0).unwrap().unwrap();
        let urls: Vec<_> = named.witnesses.iter().map(|(_, url)| url.as_str()).collect();
        assert_eq!(urls, ["https://a.example/add-checkpoint", "http://127.0.0.1:1/w/add-checkpoint"]);
        assert_eq!(named.quorum, 2);
        assert!(parsed(" \n", 0).unwrap().is_none());
    }

    #[test]
    fn wrong_settings_are_refused() {
        let (one, (_, of_a_log)) = (key("a.example/1"), generate_keys("b.example/2").unwrap());
        let line = format!("{one} https://a.example");
        for (text, quorum) in [
            (one.clone(), 0),
            (format!("{one} a.example"), 0),
            (format!("{of_a_log} https://a.example"), 0),
            (format!("{line}\n{one} https://b.example"), 0),
            (line, 2),
        ] {
            assert!(parsed(&text, quorum).is_err(), "{text} was accepted");
        }
    }
}
