//! A running child process. Every wait for it has a timeout.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::process::{Child, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};

use crate::identity::ProcessId;
use crate::interrupt::Interrupt;
use crate::launch::Program;
use crate::probe::Probe;
use crate::progress::report;

/// Short compared with the start of any server.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// The part of a log that an exit report shows: enough for an error and its cause.
const TAIL_LINES: usize = 20;
const TAIL_BYTES: u64 = 16 * 1024;

#[derive(Debug)]
pub struct Process {
    program: Program,
    child: Child,
    id: ProcessId,
    stop_requested: Option<Instant>,
}

impl Process {
    pub fn start(program: Program) -> Result<Self> {
        let child = program.start()?;
        let id = ProcessId::of_child(&child)?;
        Ok(Self { program, child, id, stop_requested: None })
    }

    pub fn id(&self) -> ProcessId {
        self.id
    }

    pub fn program(&self) -> &Program {
        &self.program
    }

    /// `None` while the process runs.
    pub fn exit_status(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// Waits until the probe passes. It is an error if the process exits first.
    pub fn wait_ready(&mut self, probe: &Probe, timeout: Duration, interrupt: &Interrupt) -> Result<()> {
        self.wait("become ready", timeout, interrupt, |process| match process.exit_status()? {
            Some(status) => bail!("{}", process.exit_report(status)),
            None => Ok(probe.passes()),
        })
    }

    /// Waits until a process that does one job has exited with success.
    pub fn wait_success(mut self, timeout: Duration, interrupt: &Interrupt) -> Result<()> {
        self.wait("finish", timeout, interrupt, |process| match process.exit_status()? {
            Some(status) if !status.success() => bail!("{}", process.exit_report(status)),
            status => Ok(status.is_some()),
        })
    }

    fn wait(
        &mut self,
        what: &str,
        timeout: Duration,
        interrupt: &Interrupt,
        is_done: impl Fn(&mut Self) -> Result<bool>,
    ) -> Result<()> {
        let started = Instant::now();
        while !is_done(self)? {
            interrupt.check()?;
            ensure!(
                started.elapsed() < timeout,
                "{} did not {what} within {timeout:?}; {}",
                self.program.name,
                self.log_tail()
            );
            thread::sleep(POLL_INTERVAL);
        }
        Ok(())
    }

    /// Sends the stop signal, once, and returns when it was sent.
    pub fn request_stop(&mut self) -> Instant {
        *self.stop_requested.get_or_insert_with(|| {
            self.id.signal(self.program.stop_signal);
            Instant::now()
        })
    }

    /// Requests a graceful stop, waits for it, and kills the process after the timeout.
    pub fn stop(&mut self) -> io::Result<ExitStatus> {
        let requested = self.request_stop();
        while requested.elapsed() < self.program.stop_within {
            if let Some(status) = self.exit_status()? {
                return Ok(status);
            }
            thread::sleep(POLL_INTERVAL);
        }
        self.kill()
    }

    /// Kills the process if it was requested to stop, and takes longer than it may.
    pub fn kill_if_overdue(&mut self) -> io::Result<()> {
        match self.stop_requested {
            Some(requested) if requested.elapsed() >= self.program.stop_within => self.child.kill(),
            _ => Ok(()),
        }
    }

    pub fn kill(&mut self) -> io::Result<ExitStatus> {
        self.child.kill()?;
        self.child.wait()
    }

    /// How the process exited, with the end of its log.
    pub fn exit_report(&self, status: ExitStatus) -> String {
        format!("{} exited with {status}; {}", self.program.name, self.log_tail())
    }

    fn log_tail(&self) -> String {
        let log = &self.program.log;
        let tail = read_tail(log).unwrap_or_else(|error| format!("(unreadable: {error})"));
        let lines: Vec<&str> = tail.lines().collect();
        let last = &lines[lines.len().saturating_sub(TAIL_LINES)..];
        format!("end of its log {}:\n    {}", log.display(), last.join("\n    "))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Ok(None) = self.exit_status()
            && let Err(error) = self.stop()
        {
            report(format_args!("cannot stop {}: {error}", self.program.name));
        }
    }
}

fn read_tail(log: &Path) -> io::Result<String> {
    let mut file = File::open(log)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
    let mut bytes = Vec::new();
    // It may grow meanwhile, or be a device without an end.
    file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
