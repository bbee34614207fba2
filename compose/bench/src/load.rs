//! The load: wrk, with a script that makes every purchase count. See `load.lua`.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;

use crate::answers::Answers;
use stack::interrupt::Interrupt;
use stack::launch::Program;
use stack::process::Process;

const SCRIPT: &str = include_str!("load.lua");

/// Threads of wrk: enough to keep the services busy on the machines that this is for, which have few cores.
const THREADS: u32 = 2;
/// wrk goes on for this long after it has stopped sending, so that what is under way is answered. In whole seconds, as
/// wrk counts them.
pub const GRACE: Duration = Duration::from_secs(1);
/// wrk leaves later answers out of its latencies. They fail the run, long before a service's own limit.
pub const LATE: &str = "5s";
/// wrk joins its threads ten times a second, and may have to share the machine.
const ENDS_WITHIN: Duration = Duration::from_secs(20);
/// How often a wait for the end of the sending looks at the interrupt.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// The most connections of a load that keeps to a rate. wrk looks through all of them for the next one that is due,
/// which costs it more the more there are.
pub const MOST_OPEN_CONNECTIONS: u32 = 2048;
const LEAST_OPEN_CONNECTIONS: f64 = 64.0;
/// For so long such a load goes on arriving while no answer comes at all. Past that, wrk's own correction sets in: it
/// adds what requests would have waited that were not sent meanwhile, as if each connection sent one per average
/// interval ("coordinated omission").
const ARRIVES_WITHOUT_ANSWERS_S: f64 = 0.1;

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

impl Load {
    /// Purchases at so many per second, whatever the answers do.
    pub fn at_rate(rate: f64, time: Duration) -> Self {
        let enough = (rate * ARRIVES_WITHOUT_ANSWERS_S).ceil();
        let connections = enough.clamp(LEAST_OPEN_CONNECTIONS, MOST_OPEN_CONNECTIONS.into());
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
        let connections = connections as u32;
        Self { traffic: Traffic::PurchasesAt(rate), connections, time }
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
        Ok(self.process.exit_status()?.is_some())
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
