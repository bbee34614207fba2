//! Processes that outlived their supervisor.

use std::fs;
use std::io;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use nix::sys::signal::Signal;

use crate::data_folder::DataFolder;
use crate::identity::ProcessId;
use crate::progress::note;
use crate::state::State;

const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// The kernel sent them their stop signal when the supervisor died; no server takes longer to stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);
const KILL_TIMEOUT: Duration = Duration::from_secs(10);

/// Waits until the processes of a dead supervisor have ended, and kills those that do not stop. Requires the folder's lock.
pub fn end(folder: &DataFolder) -> Result<()> {
    if let Some(state) = State::read(&folder.state())? {
        note("The last stack did not stop in order; ending what is left of it");
        end_listed(&state)?;
    }
    end_backends(&folder.postgres())?;
    match fs::remove_file(folder.state()) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

fn end_listed(state: &State) -> Result<()> {
    let started = Instant::now();
    while let Some(orphan) = state.processes.iter().find(|entry| entry.id.is_alive()) {
        if started.elapsed() > STOP_TIMEOUT {
            orphan.id.signal(Signal::SIGKILL);
        }
        ensure!(started.elapsed() < STOP_TIMEOUT + KILL_TIMEOUT, "cannot kill {} (pid {})", orphan.name, orphan.id.pid);
        thread::sleep(POLL_INTERVAL);
    }
    Ok(())
}

/// Kills the processes of a Postgres whose first process is dead: a new one refuses to start while any of them lives, and a stuck one
/// never notices. Recovery from the log follows in any case.
fn end_backends(data: &Path) -> Result<()> {
    let started = Instant::now();
    loop {
        let backends = backends(data)?;
        let Some(backend) = backends.first() else { return Ok(()) };
        ensure!(started.elapsed() < KILL_TIMEOUT, "cannot kill a process of Postgres (pid {})", backend.pid);
        for backend in backends {
            backend.signal(Signal::SIGKILL);
        }
        thread::sleep(POLL_INTERVAL);
    }
}

/// Processes of this name that work in the data folder.
fn backends(data: &Path) -> io::Result<Vec<ProcessId>> {
    let processes = fs::read_dir("/proc")?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    Ok(processes.filter_map(|pid| backend(pid, data)).collect())
}

/// `None` also for processes that end meanwhile, or belong to another user.
fn backend(pid: i32, data: &Path) -> Option<ProcessId> {
    let id = ProcessId::of(pid).ok()?;
    let file = |name: &str| format!("/proc/{pid}/{name}");
    let works_here = fs::read_link(file("cwd")).ok()? == data;
    let is_postgres = fs::read_to_string(file("comm")).ok()?.trim_end() == "postgres";
    (works_here && is_postgres && id.is_alive()).then_some(id)
}
