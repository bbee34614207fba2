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
            self.process.kill_if_overdue()?;
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

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};
    use std::thread;

    use nix::sys::signal::Signal;

    use super::*;
    use crate::launch::Program;
    use crate::probe::Probe;

    #[test]
    fn a_process_that_does_not_stop_in_time_is_killed_and_restarted() {
        let folder = tempfile::tempdir().unwrap();
        let program = Program {
            name: "sleep".to_owned(),
            path: "/bin/sleep".into(),
            arguments: vec!["1000".into()],
            environment: Vec::new(),
            account: None,
            log: folder.path().join("sleep.log"),
            // It ignores this one.
            stop_signal: Signal::SIGWINCH,
            stop_within: Duration::ZERO,
        };
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let server = Server { program, address, probe: Probe::Postgres { address }, ready_within: Duration::ZERO };
        let process = server.start().unwrap();
        let first = process.id();
        let now = Instant::now();
        let mut supervised =
            Supervised { role: "sleep", server, process, restart_at: None, check_at: now, last_ready: None };
        supervised.request_stop();
        while !supervised.restart_if_exited().unwrap() {
            assert!(now.elapsed() < Duration::from_mins(1), "it has not been killed");
            thread::sleep(Duration::from_millis(10));
        }
        assert_ne!(supervised.process.id(), first);
        supervised.process.kill().unwrap();
    }
}
