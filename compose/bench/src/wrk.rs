//! Runs the load generator wrk with the script `load.lua`, which accounts for every purchase.

use std::fs;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use nix::sys::signal::Signal;

use crate::load::{Answers, GRACE, LATE, Load, Traffic};
use stack::data_folder::DataFolder;
use stack::interrupt::Interrupt;
use stack::launch::Program;
use stack::process::Process;

const SCRIPT: &str = include_str!("load.lua");

/// Enough to keep the services busy on machines with few cores.
const THREADS: u32 = 2;
/// wrk joins its threads ten times a second, and may have to share the machine.
const ENDS_WITHIN: Duration = Duration::from_secs(20);

#[derive(Debug)]
pub struct RunningLoad {
    process: Process,
    load: Load,
    started: Instant,
    interrupt: Interrupt,
    /// Purchases that the bench made in addition to those of wrk.
    pub also_bought: i64,
}

impl RunningLoad {
    pub fn start(folder: &DataFolder, interrupt: &Interrupt, address: SocketAddr, load: Load) -> Result<Self> {
        ensure!(address.ip().is_loopback(), "{address} is not on this machine");
        let (script, log) = (folder.path().join("load.lua"), folder.log("wrk"));
        fs::write(&script, SCRIPT)?;
        // A process appends to its log, which holds the results here.
        fs::write(&log, "")?;
        let seconds = load.time.as_secs().to_string();
        let (path, script_arguments) = match load.traffic {
            Traffic::Purchases => ("/api/buy_mpi", vec!["purchases".to_owned(), seconds]),
            Traffic::PurchasesAt(rate) => {
                ("/api/buy_mpi", vec!["purchases".to_owned(), seconds, (rate / f64::from(THREADS)).to_string()])
            }
            Traffic::Reads => ("/api/get_current_money", vec!["reads".to_owned()]),
        };
        // Reads are not counted, and need no grace period.
        let grace = if matches!(load.traffic, Traffic::Reads) { Duration::ZERO } else { GRACE };
        let mut arguments = vec![
            format!("--threads={THREADS}"),
            format!("--connections={}", load.connections),
            format!("--duration={}s", (load.time + grace).as_secs()),
            format!("--timeout={LATE}"),
            format!("--script={}", script.display()),
            format!("http://{address}{path}"),
            "--".to_owned(),
        ];
        arguments.extend(script_arguments);
        let process = Process::start(Program {
            name: "wrk".to_owned(),
            path: "wrk".into(),
            arguments: arguments.into_iter().map(Into::into).collect(),
            environment: Vec::new(),
            account: None,
            log,
            // On SIGINT wrk would print a summary of a load that was cut short.
            stop_signal: Signal::SIGTERM,
            stop_within: ENDS_WITHIN,
        })?;
        Ok(Self { process, load, started: Instant::now(), interrupt: interrupt.clone(), also_bought: 0 })
    }

    pub fn is_sending(&self) -> bool {
        self.started.elapsed() < self.load.time
    }

    /// Repeats `action` until wrk sends no more requests.
    pub fn while_sending(&self, interval: Duration, mut action: impl FnMut() -> Result<()>) -> Result<()> {
        while self.is_sending() {
            action()?;
            self.interrupt.check()?;
            thread::sleep(interval);
        }
        Ok(())
    }

    /// Time since the last request was sent.
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
