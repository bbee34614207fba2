//! Processes that outlived their supervisor.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use nix::sys::signal::Signal;

use crate::data_folder::DataFolder;
use crate::state::State;

const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// The kernel sent them their stop signal when the supervisor died; no server takes longer to stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);
const KILL_TIMEOUT: Duration = Duration::from_secs(10);

/// Waits until the processes of a dead supervisor have ended, and kills those that do not stop. Requires the folder's lock.
pub fn end(folder: &DataFolder) -> Result<()> {
    let Some(state) = State::read(&folder.state())? else {
        return Ok(());
    };
    let started = Instant::now();
    while let Some(orphan) = state.processes.iter().find(|entry| entry.id.is_alive()) {
        if started.elapsed() > STOP_TIMEOUT {
            orphan.id.signal(Signal::SIGKILL);
        }
        ensure!(started.elapsed() < STOP_TIMEOUT + KILL_TIMEOUT, "cannot kill {} (pid {})", orphan.name, orphan.id.pid);
        thread::sleep(POLL_INTERVAL);
    }
    fs::remove_file(folder.state())?;
    Ok(())
}
