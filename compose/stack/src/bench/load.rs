//! The load: wrk, with a script that makes every purchase count. See `load.lua`.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use serde::Deserialize;

use super::figures::Latency;
use crate::interrupt::Interrupt;
use crate::launch::Program;
use crate::process::Process;

const SCRIPT: &str = include_str!("load.lua");

/// Threads of wrk: enough to keep the services busy on the machines that this is for, which have few cores.
const THREADS: u32 = 2;
/// wrk goes on for this long after it has stopped sending, so that what is under way is answered. In whole seconds, as
/// wrk counts them.
const GRACE: Duration = Duration::from_secs(1);
/// wrk leaves later answers out of its latencies. They fail the run, long before a service's own limit.
const LATE: &str = "5s";
/// wrk joins its threads ten times a second, and may have to share the machine.
const ENDS_WITHIN: Duration = Duration::from_secs(20);
/// How often a wait for the end of the sending looks at the interrupt.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Connections for a load that keeps to a rate. Enough for the arrivals to go on for a tenth of a second at 20,000 per
/// second while no answer comes at all; wrk looks through all of them for the next one that is due, which costs it
/// more the more there are. Past that, wrk's own correction sets in: it adds what requests would have waited that were
/// not sent meanwhile, as if each connection sent one per average interval ("coordinated omission").
pub const OPEN_CONNECTIONS: u32 = 2048;

#[derive(Clone, Copy, Debug)]
pub enum Traffic {
    /// Purchases, each with a fresh key: on every connection the next one as soon as the last one is answered.
    Purchases,
    /// Purchases at so many per second on average, at random times that do not depend on the answers.
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
    fn parse(output: &str) -> Result<Self> {
        let line = output.lines().rfind(|line| line.starts_with('{')).context("wrk reported no figures")?;
        serde_json::from_str(line).with_context(|| format!("wrk reported {line}"))
    }

    /// Anything but a success for every single request fails the run.
    fn check(&self, traffic: Traffic) -> Result<()> {
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
}

/// How wrk is run.
#[derive(Debug)]
pub struct Generator {
    script: PathBuf,
    log: PathBuf,
    interrupt: Interrupt,
}

impl Generator {
    pub fn new(folder: &Path, log: PathBuf, interrupt: &Interrupt) -> Result<Self> {
        let script = folder.join("load.lua");
        fs::write(&script, SCRIPT).with_context(|| format!("cannot write {}", script.display()))?;
        Ok(Self { script, log, interrupt: interrupt.clone() })
    }

    /// Begins a load on an address of this machine.
    pub fn start(&self, address: SocketAddr, load: Load) -> Result<Running> {
        ensure!(address.ip().is_loopback(), "{address} is not on this machine");
        if self.log.exists() {
            fs::remove_file(&self.log)?;
        }
        let process = Process::start(self.program(address, load))?;
        Ok(Running { process, load, started: Instant::now(), interrupt: self.interrupt.clone(), also_bought: 0 })
    }

    fn program(&self, address: SocketAddr, load: Load) -> Program {
        let (path, words) = match load.traffic {
            Traffic::Purchases => ("/api/buy_mpi", vec!["purchases".to_owned(), load.time.as_secs().to_string()]),
            Traffic::PurchasesAt(rate) => {
                let rate_per_thread = (rate / f64::from(THREADS)).to_string();
                ("/api/buy_mpi", vec!["purchases".to_owned(), load.time.as_secs().to_string(), rate_per_thread])
            }
            Traffic::Reads => ("/api/get_current_money", vec!["reads".to_owned()]),
        };
        // Reads need no time to settle: nobody counts them.
        let duration = if matches!(load.traffic, Traffic::Reads) { load.time } else { load.time + GRACE };
        let mut arguments = vec![
            format!("--threads={THREADS}"),
            format!("--connections={}", load.connections),
            format!("--duration={}s", duration.as_secs()),
            format!("--timeout={LATE}"),
            format!("--script={}", self.script.display()),
            format!("http://{address}{path}"),
            "--".to_owned(),
        ];
        arguments.extend(words);
        Program {
            name: "wrk".to_owned(),
            path: "wrk".into(),
            arguments: arguments.into_iter().map(Into::into).collect(),
            environment: Vec::new(),
            account: None,
            log: self.log.clone(),
            // wrk takes SIGINT as a wish for an early summary.
            stop_signal: Signal::SIGTERM,
            stop_within: ENDS_WITHIN,
        }
    }
}

/// A load under way.
#[derive(Debug)]
pub struct Running {
    process: Process,
    load: Load,
    started: Instant,
    interrupt: Interrupt,
    /// Purchases that were made beside wrk's meanwhile.
    pub also_bought: i64,
}

impl Running {
    pub fn is_sending(&self) -> bool {
        self.started.elapsed() < self.load.time
    }

    pub fn wait_while_sending(&self) -> Result<()> {
        while self.is_sending() {
            self.interrupt.check()?;
            thread::sleep(LOOK_AGAIN);
        }
        Ok(())
    }

    /// Since the last request was sent.
    pub fn quiet_for(&self) -> Duration {
        self.started.elapsed().saturating_sub(self.load.time)
    }

    pub fn has_ended(&mut self) -> Result<bool> {
        Ok(self.process.ended()?.is_some())
    }

    pub fn finish(self) -> Result<Answers> {
        let log = self.process.program().log.clone();
        let remaining = (self.load.time + GRACE).saturating_sub(self.started.elapsed());
        self.process.wait_success(remaining + ENDS_WITHIN, &self.interrupt)?;
        let answers = Answers::parse(&fs::read_to_string(&log)?)?;
        answers.check(self.load.traffic)?;
        Ok(answers)
    }
}

impl Answers {
    /// Per second of sending. The last answers come a little later, as the first ones came a little after the start.
    pub fn rate(&self, load: Load) -> f64 {
        let seconds = match load.traffic {
            Traffic::Reads => self.duration_s,
            Traffic::Purchases | Traffic::PurchasesAt(_) => load.time.as_secs_f64(),
        };
        super::figures::count(self.answered) / seconds
    }
}

#[cfg(test)]
mod tests {
    use super::{Answers, Traffic};

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
