//! A command of a service that does one job, such as `rebuild`, for tests that kill it or check its outcome.

use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::time::{Instant, sleep};

use crate::service::program;
use stack::process::Process;

const EXIT_TIMEOUT: Duration = Duration::from_mins(1);
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// A running command.
#[derive(Debug)]
pub struct Command(Process);

/// The outcome of a command.
#[derive(Debug)]
pub struct Ended {
    pub success: bool,
    pub log: String,
}

impl Command {
    /// Runs `<name> <arguments>` with these variables, which override those of this process.
    pub fn start(name: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        Self(Process::start(program(name, arguments, environment)).unwrap_or_else(|error| panic!("{error:#}")))
    }

    /// Waits until it has exited, with success or not.
    pub async fn ended(mut self) -> Ended {
        let started = Instant::now();
        loop {
            if let Some(status) = self.0.exit_status().expect("a child can be waited for") {
                return Ended { success: status.success(), log: self.log() };
            }
            assert!(started.elapsed() < EXIT_TIMEOUT, "it has not exited within {EXIT_TIMEOUT:?}:\n{}", self.log());
            sleep(POLL_INTERVAL).await;
        }
    }

    pub fn is_running(&mut self) -> bool {
        self.0.exit_status().expect("a child can be waited for").is_none()
    }

    /// Sends any signal, such as SIGSTOP.
    pub fn signal(&self, signal: Signal) {
        self.0.id().signal(signal);
    }

    /// Sends SIGKILL and returns the log.
    pub fn kill(mut self) -> String {
        self.0.kill().expect("a child can be killed");
        self.log()
    }

    /// The log so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.0.program().log).expect("the log can be read")
    }
}
