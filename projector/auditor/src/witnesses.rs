//! The auditor's policy: whose cosignatures a checkpoint needs, and how many of them.

use std::path::Path;

use anyhow::{Context, ensure};
use clap::Args;
use contract::position::Position;
use event_log::transparency::cosignature::{WitnessKey, require_distinct};

use crate::checkpoint::{Checkpoints, position_in};

#[derive(Args, Debug)]
#[group(skip)]
pub struct Settings {
    /// Public key of a witness whose cosignature counts, or a file that holds it; may be repeated
    ///
    /// With witnesses, the log counts as signed only up to the newest checkpoint that enough of them have cosigned. The newest cosigned
    /// checkpoint of the read model or the shop is used as well.
    #[arg(long, value_name = "KEY", requires = "public_key")]
    pub witness: Vec<String>,

    /// Number of these witnesses that must have cosigned a checkpoint; by default all
    #[arg(long, value_name = "NUMBER", requires = "witness")]
    pub witness_quorum: Option<usize>,
}

/// k of n; without witnesses, nothing is required.
pub struct Policy {
    witnesses: Vec<WitnessKey>,
    quorum: usize,
}

impl Settings {
    pub fn policy(&self) -> anyhow::Result<Policy> {
        let witnesses = self.witness.iter().map(|text| key(text)).collect::<anyhow::Result<Vec<_>>>()?;
        require_distinct(&witnesses)?;
        let (count, quorum) = (witnesses.len(), self.witness_quorum.unwrap_or(witnesses.len()));
        ensure!(count == 0 || (1..=count).contains(&quorum), "--witness-quorum is {quorum}, with {count} witnesses");
        Ok(Policy { witnesses, quorum })
    }
}

impl Policy {
    /// The newest cosigned note that is served, if the policy requires any. The witnesses may have cosigned none yet.
    pub async fn served(&self, checkpoints: &Checkpoints) -> anyhow::Result<Option<String>> {
        if self.witnesses.is_empty() {
            return Ok(None);
        }
        let note = checkpoints.cosigned().await?;
        self.require([&*note], |_| true)?;
        Ok(Some(note))
    }

    /// The newest position that enough witnesses have cosigned, of the notes that count otherwise; an error if there is none.
    pub fn require<'a>(
        &self,
        notes: impl IntoIterator<Item = &'a str>,
        counts: impl Fn(Position) -> bool,
    ) -> anyhow::Result<Option<Position>> {
        if self.witnesses.is_empty() {
            return Ok(None);
        }
        let cosigned = notes.into_iter().filter(|note| {
            self.witnesses.iter().filter(|witness| witness.cosignature(note).is_some()).count() >= self.quorum
        });
        let newest = cosigned.filter_map(|note| position_in(note).ok()).filter(|position| counts(*position)).max();
        let (quorum, count) = (self.quorum, self.witnesses.len());
        newest
            .map(Some)
            .with_context(|| format!("no checkpoint that counts is cosigned by {quorum} of {count} witnesses"))
    }
}

fn key(text: &str) -> anyhow::Result<WitnessKey> {
    if Path::new(text).is_file() {
        let key = std::fs::read_to_string(text).with_context(|| format!("cannot read the public key {text}"))?;
        return WitnessKey::parse(&key).with_context(|| text.to_owned());
    }
    Ok(WitnessKey::parse(text)?)
}
