//! One server of a stack, restarted when it exits.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::interrupt::Interrupt;
use crate::process::Process;
use crate::progress::report;
use crate::server::Server;
use crate::state::Entry;

/// A server that fails at every start does not keep the machine busy.
const RESTART_DELAY: Duration = Duration::from_millis(500);
/// NATS reports a write that failed, as on a full disk, and writes nothing until it is restarted. The others recover.
const RESTARTED_IF_FAILING: &str = "nats";
const HEALTH_INTERVAL: Duration = Duration::from_secs(1);
/// How long it reports a failure before it is restarted.
const FAILING_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub struct Supervised {
    /// The same for all replicas of a service.
    pub role: &'static str,
    pub server: Server,
    process: Process,
    restart_at: Option<Instant>,
    check_at: Instant,
    /// `None` from a restart until it is ready: restarting it once more would not help.
    last_ready: Option<Instant>,
}

impl Supervised {
    /// Starts the server and waits until it is ready.
    pub fn start(role: &'static str, server: Server, interrupt: &Interrupt) -> Result<Self> {
        let process = server.start_and_wait(interrupt)?;
        let now = Instant::now();
        Ok(Self { role, server, process, restart_at: None, check_at: now, last_ready: Some(now) })
    }

    /// Reports an exit, and restarts the server after a delay. True if it has been restarted.
    pub fn restart_if_exited(&mut self) -> Result<bool> {
        let Some(status) = self.process.exit_status()? else {
            self.stop_if_failing();
            return Ok(false);
        };
        let Some(restart_at) = self.restart_at else {
            report(format_args!("{}\nrestarting {}", self.process.exit_report(status), self.server.program.name));
            self.restart_at = Some(Instant::now() + RESTART_DELAY);
            return Ok(false);
        };
        if Instant::now() < restart_at {
            return Ok(false);
        }
        self.restart_at = Some(Instant::now() + RESTART_DELAY);
        self.process = self.server.start()?;
        self.restart_at = None;
        self.last_ready = None;
        Ok(true)
    }

    fn stop_if_failing(&mut self) {
        if self.role != RESTARTED_IF_FAILING || Instant::now() < self.check_at {
            return;
        }
        self.check_at = Instant::now() + HEALTH_INTERVAL;
        match self.server.probe.check() {
            Ok(true) => self.last_ready = Some(Instant::now()),
            Ok(false) if self.last_ready.is_some_and(|last_ready| last_ready.elapsed() > FAILING_TIMEOUT) => {
                report(format_args!("{} reports a failure", self.server.program.name));
                self.request_stop();
            }
            Ok(false) | Err(_) => {}
        }
    }

    /// Sends the stop signal without waiting.
    pub fn request_stop(&mut self) {
        self.process.request_stop();
    }

    /// For the state file.
    pub fn entry(&self) -> Entry {
        Entry {
            name: self.server.program.name.clone(),
            id: self.process.id(),
            address: self.server.address,
            probe: self.server.probe.clone(),
            log: self.server.program.log.clone(),
        }
    }
}
