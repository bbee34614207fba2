//! Processes that outlived their supervisor.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use nix::sys::signal::Signal;

use crate::data_folder::DataFolder;
use crate::state::{Entry, State};

const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// The kernel has told them to stop when their supervisor died. This is the longest that any of them may take.
const END_WITHIN: Duration = Duration::from_secs(30);
/// What is killed is gone as soon as the kernel has taken it apart.
const GONE_WITHIN: Duration = Duration::from_secs(10);

/// Waits for the children of a dead supervisor to end, and ends what does not. Only for who holds the lock.
pub fn clear(folder: &DataFolder) -> Result<()> {
    let Some(state) = State::read(&folder.state())? else {
        return Ok(());
    };
    if !all_end(&state.processes, END_WITHIN) {
        for entry in &state.processes {
            entry.id.signal(Signal::SIGKILL);
        }
        if !all_end(&state.processes, GONE_WITHIN) {
            let names: Vec<_> =
                alive(&state.processes).map(|entry| format!("{} ({})", entry.name, entry.id.pid)).collect();
            bail!("cannot end {}", names.join(", "));
        }
    }
    fs::remove_file(folder.state())?;
    Ok(())
}

fn all_end(processes: &[Entry], limit: Duration) -> bool {
    let started = Instant::now();
    while alive(processes).next().is_some() {
        if started.elapsed() > limit {
            return false;
        }
        thread::sleep(LOOK_AGAIN);
    }
    true
}

fn alive(processes: &[Entry]) -> impl Iterator<Item = &Entry> {
    processes.iter().filter(|entry| entry.id.is_alive())
}
