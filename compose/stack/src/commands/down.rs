//! `cargo stack down`

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::signal::Signal;

use crate::data_folder::DataFolder;
use crate::options::Data;
use crate::orphans;
use crate::progress::{Progress, print};
use crate::state::State;

const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// Longer than the sum of the processes' timeouts.
const STOP_TIMEOUT: Duration = Duration::from_secs(150);

pub fn run(data: &Data) -> Result<()> {
    let folder = DataFolder::existing(&data.folder);
    let Some(folder) = folder.filter(|folder| folder.state().exists()) else {
        print(format_args!("no stack is running on {}", data.folder.display()));
        return Ok(());
    };
    Progress::Shown.step("stopped", || stop(&folder))
}

fn stop(folder: &DataFolder) -> Result<()> {
    if let Some(state) = State::read(&folder.state())? {
        state.supervisor.signal(Signal::SIGTERM);
        let requested = Instant::now();
        while state.supervisor.is_alive() {
            if requested.elapsed() > STOP_TIMEOUT {
                // The kernel then sends its children their stop signals.
                state.supervisor.signal(Signal::SIGKILL);
            }
            thread::sleep(POLL_INTERVAL);
        }
    }
    let _lock = folder.lock()?.with_context(|| folder.why_locked())?;
    orphans::end(folder)
}
