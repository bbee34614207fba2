//! A load by wrk with the script `load.lua`, which accounts for every purchase.

use std::fmt;
use std::fs;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use serde::Deserialize;
use stack::{data_folder::DataFolder, interrupt::Interrupt, launch::Program, process::Process};

use crate::{Latency, number};

const SCRIPT: &str = include_str!("load.lua");

/// Enough to keep the services busy on machines with few cores.
const THREADS: u32 = 2;
/// wrk waits this long for answers after the last request. In whole seconds, as wrk counts them.
const GRACE: Duration = Duration::from_secs(1);
/// wrk leaves later answers out of its latencies; here they fail the run. Shorter than the limits of the services.
const LATE: &str = "5s";
/// wrk joins its threads ten times a second, and may have to share the machine.
const ENDS_WITHIN: Duration = Duration::from_secs(20);

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

#[derive(Debug)]
pub struct RunningLoad {
    process: Process,
    load: Load,
    started: Instant,
}

/// What wrk reports about one load.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Answers {
    sent: i64,
    /// Requests answered with success, those of the bench included.
    pub answered: i64,
    /// Answers with status 400 or above.
    refused: i64,
    /// Connections that could not be opened, written to or read from.
    broken: i64,
    late: i64,
    /// Per second of sending: the last answers come about as late as the first ones did.
    pub rate: f64,
    #[serde(flatten)]
    pub latency: Latency,
    /// Time from the last request until the totals included every purchase; measured by the bench.
    #[serde(skip)]
    pub drained_after: Option<Duration>,
}

impl fmt::Display for Answers {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:>9}/s  {} ms", number(self.rate), self.latency)?;
        let drained = self.drained_after.map(|drained| drained.as_millis());
        drained.map_or(Ok(()), |drained| write!(formatter, "  projected after {drained} ms"))
    }
}

/// Connections of a load at a fixed rate.
pub fn open_connections(rate: f64) -> u32 {
    let enough = (rate * ARRIVES_WITHOUT_ANSWERS_S).ceil();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
    let connections = enough.clamp(MIN_OPEN_CONNECTIONS, MAX_OPEN_CONNECTIONS.into()) as u32;
    connections
}

impl RunningLoad {
    pub fn start(folder: &DataFolder, address: SocketAddr, load: Load) -> Result<Self> {
        ensure!(address.ip().is_loopback(), "{address} is not on this machine");
        let (script, log) = (folder.path().join("load.lua"), folder.log("wrk"));
        fs::write(&script, SCRIPT)?;
        // A process appends to its log, which holds the results here.
        fs::write(&log, "")?;
        let seconds = load.time.as_secs().to_string();
        // Reads are not counted, and need no grace period.
        let (path, grace, script_arguments) = match load.traffic {
            Traffic::Reads => ("/api/get_current_money", Duration::ZERO, vec![]),
            Traffic::Purchases => ("/api/buy_mpi", GRACE, vec![seconds]),
            Traffic::PurchasesAt(rate) => {
                ("/api/buy_mpi", GRACE, vec![seconds, (rate / f64::from(THREADS)).to_string()])
            }
        };
        let arguments = [
            format!("--threads={THREADS}"),
            format!("--connections={}", load.connections),
            format!("--duration={}s", (load.time + grace).as_secs()),
            format!("--timeout={LATE}"),
            format!("--script={}", script.display()),
            format!("http://{address}{path}"),
            "--".to_owned(),
        ];
        let process = Process::start(Program {
            name: "wrk".to_owned(),
            path: "wrk".into(),
            arguments: arguments.into_iter().chain(script_arguments).map(Into::into).collect(),
            environment: Vec::new(),
            account: None,
            log,
            // On SIGINT wrk would print a summary of a load that was cut short.
            stop_signal: Signal::SIGTERM,
            stop_within: ENDS_WITHIN,
        })?;
        Ok(Self { process, load, started: Instant::now() })
    }

    /// Time until wrk sends no more requests.
    pub fn remaining(&self) -> Duration {
        self.load.time.saturating_sub(self.started.elapsed())
    }

    /// Time since the last request was sent.
    pub fn quiet_for(&self) -> Duration {
        self.started.elapsed().saturating_sub(self.load.time)
    }

    pub fn has_ended(&mut self) -> Result<bool> {
        Ok(self.process.exit_status()?.is_some())
    }

    pub fn finish(self, interrupt: &Interrupt) -> Result<Answers> {
        let log = self.process.program().log.clone();
        self.process.wait_success(self.load.time + GRACE + ENDS_WITHIN, interrupt)?;
        Answers::parse(&fs::read_to_string(&log)?, self.load.traffic)
    }
}

impl Answers {
    /// Reads the line of JSON after wrk's own summary. Fails unless every request was answered with success and in time.
    fn parse(output: &str, traffic: Traffic) -> Result<Self> {
        let line = output.lines().rfind(|line| line.starts_with('{')).context("wrk reported no figures")?;
        let answers: Self = serde_json::from_str(line).with_context(|| format!("wrk reported {line}"))?;
        let Self { sent, answered, refused, broken, late, .. } = answers;
        ensure!(
            refused == 0 && broken == 0 && late == 0,
            "of {answered} requests {refused} were refused and {late} took longer than {LATE}, and {broken} \
             connections broke; see the logs of the services"
        );
        // wrk counts no error if a server closes the connection on a request: it reconnects, and the answer is missing.
        ensure!(
            matches!(traffic, Traffic::Reads) || sent == answered,
            "{sent} purchases were sent, but {answered} were answered within {GRACE:?} after the last one"
        );
        ensure!(answered > 0, "no request was answered");
        Ok(answers)
    }
}

#[cfg(test)]
mod tests {
    use super::{Answers, Traffic};

    const GOOD: &str = r#"{"sent":10,"answered":10,"refused":0,"broken":0,"late":0,"rate":3.3,"p50_ms":1.5,"p99_ms":2.0,"p999_ms":2.5}"#;

    fn parse(output: &str) -> anyhow::Result<Answers> {
        Answers::parse(output, Traffic::Purchases)
    }

    #[test]
    fn the_figures_are_the_last_line_of_the_output() {
        let output = format!("Running 3s test @ http://127.0.0.1/\n  2 threads\n{GOOD}\n");
        assert_eq!(parse(&output).unwrap().answered, 10);
        assert!(parse("Running 3s test").is_err());
        assert!(parse("{\"sent\":1}").is_err());
    }

    #[test]
    fn any_failed_request_fails_the_run() {
        for (field, good, bad) in [("answered", 10, 9), ("refused", 0, 1), ("broken", 0, 1), ("late", 0, 1)] {
            let output = GOOD.replace(&format!("\"{field}\":{good}"), &format!("\"{field}\":{bad}"));
            assert!(parse(&output).is_err(), "{field}");
        }
    }
}
