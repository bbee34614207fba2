//! What wrk reports of a load, and whether all of it succeeded.

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::figures::{Latency, count};
use crate::load::{GRACE, LATE, Load, Traffic};

/// What came of a load.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Answers {
    sent: i64,
    answered: i64,
    /// Answers with a status from 400.
    refused: i64,
    /// Connections that could not be opened, written to or read from.
    broken: i64,
    late: i64,
    duration_s: f64,
    p50_ms: f64,
    p99_ms: f64,
    p999_ms: f64,
}

impl Answers {
    /// wrk prints a summary for people first.
    pub fn parse(output: &str) -> Result<Self> {
        let line = output.lines().rfind(|line| line.starts_with('{')).context("wrk reported no figures")?;
        serde_json::from_str(line).with_context(|| format!("wrk reported {line}"))
    }

    /// Anything but a success for every single request fails the run.
    pub fn check(&self, traffic: Traffic) -> Result<()> {
        let Self { sent, answered, refused, broken, late, .. } = self;
        ensure!(
            *refused == 0 && *broken == 0 && *late == 0,
            "of {answered} requests {refused} were refused and {late} took longer than {LATE}, and {broken} \
             connections broke; the services' logs say more"
        );
        // wrk counts no error when a server hangs up on a request: it connects again, and the answer is missing.
        ensure!(
            matches!(traffic, Traffic::Reads) || sent == answered,
            "{sent} purchases were sent but {answered} answered, also {GRACE:?} after the last one"
        );
        ensure!(*answered > 0, "not a single request was answered");
        Ok(())
    }

    /// Requests that were answered with success.
    pub fn count(&self) -> i64 {
        self.answered
    }

    pub fn latency(&self) -> Latency {
        Latency { p50_ms: self.p50_ms, p99_ms: self.p99_ms, p999_ms: self.p999_ms }
    }

    /// Per second of sending. The last answers come a little later, as the first ones came a little after the start.
    pub fn rate(&self, load: Load) -> f64 {
        let seconds = match load.traffic {
            Traffic::Reads => self.duration_s,
            Traffic::Purchases | Traffic::PurchasesAt(_) => load.time.as_secs_f64(),
        };
        count(self.answered) / seconds
    }
}

#[cfg(test)]
mod tests {
    use super::Answers;
    use crate::load::Traffic;

    const GOOD: &str = r#"{"sent":10,"answered":10,"refused":0,"broken":0,"late":0,"duration_s":3.0,"p50_ms":1.5,"p99_ms":2.0,"p999_ms":2.5}"#;

    #[test]
    fn the_figures_are_the_last_line_after_what_wrk_prints_for_people() {
        let answers = Answers::parse(&format!("Running 3s test @ http://127.0.0.1/\n  2 threads\n{GOOD}\n")).unwrap();
        assert_eq!(answers.count(), 10);
        assert!(answers.check(Traffic::Purchases).is_ok());
        assert!(Answers::parse("Running 3s test").is_err());
        assert!(Answers::parse("{\"sent\":1}").is_err());
    }

    #[test]
    fn whatever_is_not_a_success_fails_the_run() {
        for (good, bad) in [
            ("\"answered\":10", "\"answered\":9"),
            ("\"refused\":0", "\"refused\":1"),
            ("\"broken\":0", "\"broken\":1"),
            ("\"late\":0", "\"late\":1"),
        ] {
            let answers = Answers::parse(&GOOD.replace(good, bad)).unwrap();
            assert!(answers.check(Traffic::Purchases).is_err(), "{bad}");
        }
    }
}
