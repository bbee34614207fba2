//! The load on a subject, and its results as wrk reports them.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::figures::{Latency, count};

/// wrk waits this long for answers after the last request. In whole seconds, as wrk counts them.
pub const GRACE: Duration = Duration::from_secs(1);
/// wrk leaves later answers out of its latencies; here they fail the run. Shorter than the limits of the services.
pub const LATE: &str = "5s";

/// The most connections of a load at a fixed rate. wrk searches all of them for the next one that is due.
pub const MAX_OPEN_CONNECTIONS: u32 = 2048;
const MIN_OPEN_CONNECTIONS: f64 = 64.0;
/// For so long, requests keep arriving while no answer comes. After that all connections are in use, and wrk's
/// correction for coordinated omission adds the waiting times of the requests it could not send.
const ARRIVES_WITHOUT_ANSWERS_S: f64 = 0.1;

#[derive(Clone, Copy, Debug)]
pub enum Traffic {
    /// Purchases, each with a new idempotency key. Each connection sends the next one when the last one is answered.
    Purchases,
    /// Purchases per second on average, at random times that do not depend on the answers.
    PurchasesAt(f64),
    /// Reads of the totals.
    Reads,
}

#[derive(Clone, Copy, Debug)]
pub struct Load {
    pub traffic: Traffic,
    pub connections: u32,
    pub time: Duration,
}

impl Load {
    /// Purchases at a fixed rate per second.
    pub fn at_rate(rate: f64, time: Duration) -> Self {
        let enough = (rate * ARRIVES_WITHOUT_ANSWERS_S).ceil();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
        let connections = enough.clamp(MIN_OPEN_CONNECTIONS, MAX_OPEN_CONNECTIONS.into()) as u32;
        Self { traffic: Traffic::PurchasesAt(rate), connections, time }
    }
}

#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Answers {
    sent: i64,
    /// Requests answered with success, once [`Self::check`] has passed.
    pub answered: i64,
    /// Answers with status 400 or above.
    refused: i64,
    /// Connections that could not be opened, written to or read from.
    broken: i64,
    late: i64,
    duration_s: f64,
    #[serde(flatten)]
    pub latency: Latency,
}

impl Answers {
    /// Finds the line of JSON after wrk's own summary.
    pub fn parse(output: &str) -> Result<Self> {
        let line = output.lines().rfind(|line| line.starts_with('{')).context("wrk reported no figures")?;
        serde_json::from_str(line).with_context(|| format!("wrk reported {line}"))
    }

    /// Fails unless every request was answered with success and in time.
    pub fn check(&self, traffic: Traffic) -> Result<()> {
        let Self { sent, answered, refused, broken, late, .. } = self;
        ensure!(
            *refused == 0 && *broken == 0 && *late == 0,
            "of {answered} requests {refused} were refused and {late} took longer than {LATE}, and {broken} \
             connections broke; see the logs of the services"
        );
        // wrk counts no error if a server closes the connection on a request: it reconnects, and the answer is missing.
        ensure!(
            matches!(traffic, Traffic::Reads) || sent == answered,
            "{sent} purchases were sent, but {answered} were answered within {GRACE:?} after the last one"
        );
        ensure!(*answered > 0, "no request was answered");
        Ok(())
    }

    /// Per second of sending: the last answers come about as late as the first ones did.
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
    use super::{Answers, Traffic};

    const GOOD: &str = r#"{"sent":10,"answered":10,"refused":0,"broken":0,"late":0,"duration_s":3.0,"p50_ms":1.5,"p99_ms":2.0,"p999_ms":2.5}"#;

    #[test]
    fn the_figures_are_the_last_line_of_the_output() {
        let answers = Answers::parse(&format!("Running 3s test @ http://127.0.0.1/\n  2 threads\n{GOOD}\n")).unwrap();
        assert_eq!(answers.answered, 10);
        assert!(answers.check(Traffic::Purchases).is_ok());
        assert!(Answers::parse("Running 3s test").is_err());
        assert!(Answers::parse("{\"sent\":1}").is_err());
    }

    #[test]
    fn any_failed_request_fails_the_run() {
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
