//! A program that serves, with its address and readiness probe.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;

use crate::interrupt::Interrupt;
use crate::launch::Program;
use crate::probe::Probe;
use crate::process::Process;

#[derive(Clone, Debug)]
pub struct Server {
    pub program: Program,
    pub address: SocketAddr,
    pub probe: Probe,
    pub ready_within: Duration,
}

impl Server {
    pub fn start(&self) -> Result<Process> {
        Process::start(self.program.clone())
    }

    /// Waits until it is ready.
    pub fn start_and_wait(&self, interrupt: &Interrupt) -> Result<Process> {
        let mut process = self.start()?;
        process.wait_ready(&self.probe, self.ready_within, interrupt)?;
        Ok(process)
    }
}
