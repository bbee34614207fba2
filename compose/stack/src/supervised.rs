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

#[derive(Debug)]
pub struct Supervised {
    /// The same for all replicas of a service.
    pub role: &'static str,
    pub server: Server,
    process: Process,
    restart_at: Option<Instant>,
}

impl Supervised {
    /// Starts the server and waits until it is ready.
    pub fn start(role: &'static str, server: Server, interrupt: &Interrupt) -> Result<Self> {
        let process = server.start_and_wait(interrupt)?;
        Ok(Self { role, server, process, restart_at: None })
    }

    /// Reports an exit, and restarts the server after a delay. True if it has been restarted.
    pub fn restart_if_exited(&mut self) -> Result<bool> {
        let Some(status) = self.process.exit_status()? else { return Ok(false) };
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
        Ok(true)
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
