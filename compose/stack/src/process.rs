//! A running child process: watched, waited for within a bound, and stopped within a bound.

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

/// How often a wait looks again: short beside the start of any server, and cheap.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// What is shown of a log when its process died: enough for an error and its cause.
const TAIL_LINES: usize = 20;
const TAIL_BYTES: u64 = 16 * 1024;

#[derive(Debug)]
pub struct Process {
    program: Program,
    child: Child,
    id: ProcessId,
}

impl Process {
    pub fn start(program: Program) -> Result<Self> {
        let child = program.start()?;
        let id = ProcessId::of_child(&child)?;
        Ok(Self { program, child, id })
    }

    pub fn id(&self) -> ProcessId {
        self.id
    }

    pub fn program(&self) -> &Program {
        &self.program
    }

    /// The exit status once the process has ended.
    pub fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// Waits until the probe passes; a process that ends first is an error that shows the end of its log.
    pub fn wait_ready(&mut self, probe: &Probe, limit: Duration, interrupt: &Interrupt) -> Result<()> {
        self.wait("get ready", limit, interrupt, |process| match process.ended()? {
            Some(status) => bail!("{}", process.obituary(status)),
            None => Ok(probe.passes()),
        })
    }

    /// Waits until a process that is expected to end has ended with success.
    pub fn wait_success(mut self, limit: Duration, interrupt: &Interrupt) -> Result<()> {
        self.wait("end", limit, interrupt, |process| match process.ended()? {
            Some(status) if !status.success() => bail!("{}", process.obituary(status)),
            ended => Ok(ended.is_some()),
        })
    }

    fn wait(
        &mut self,
        what: &str,
        limit: Duration,
        interrupt: &Interrupt,
        has_happened: impl Fn(&mut Self) -> Result<bool>,
    ) -> Result<()> {
        let started = Instant::now();
        while !has_happened(self)? {
            interrupt.check()?;
            ensure!(
                started.elapsed() < limit,
                "{} did not {what} within {limit:?}; {}",
                self.program.name,
                self.log_tail()
            );
            thread::sleep(LOOK_AGAIN);
        }
        Ok(())
    }

    /// Asks for an orderly end, waits for it, and forces it when it takes too long.
    pub fn stop(&mut self) -> io::Result<ExitStatus> {
        let asked = Instant::now();
        self.id.signal(self.program.stop_signal);
        while asked.elapsed() < self.program.stop_within {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            thread::sleep(LOOK_AGAIN);
        }
        self.kill()
    }

    pub fn kill(&mut self) -> io::Result<ExitStatus> {
        self.child.kill()?;
        self.child.wait()
    }

    /// A sentence on how the process ended, with the end of its log.
    pub fn obituary(&self, status: ExitStatus) -> String {
        format!("{} ended with {status}; {}", self.program.name, self.log_tail())
    }

    fn log_tail(&self) -> String {
        let log = &self.program.log;
        let tail = read_tail(log).unwrap_or_else(|error| format!("(unreadable: {error})"));
        let lines: Vec<&str> = tail.lines().collect();
        let last = &lines[lines.len().saturating_sub(TAIL_LINES)..];
        format!("the end of its log {}:\n    {}", log.display(), last.join("\n    "))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Nothing is left to tell anyone: a process that cannot be stopped gets the kernel's signal when we die.
        if let Ok(None) = self.ended() {
            let _ = self.stop();
        }
    }
}

fn read_tail(log: &Path) -> io::Result<String> {
    let mut file = File::open(log)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
