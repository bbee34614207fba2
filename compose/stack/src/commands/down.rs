//! `cargo stack down`

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::signal::Signal;

use crate::data_folder::DataFolder;
use crate::leftovers;
use crate::options::Data;
use crate::progress::Progress;
use crate::state::State;

const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// More than the sum of what each process may take.
const STOPPED_WITHIN: Duration = Duration::from_secs(150);

pub fn run(data: &Data) -> Result<()> {
    let folder = DataFolder::existing(&data.folder);
    let Some(folder) = folder.filter(|folder| folder.state().exists()) else {
        println!("no stack is running on {}", data.folder.display());
        return Ok(());
    };
    Progress::Shown.step("stopped", || stop(&folder))
}

fn stop(folder: &DataFolder) -> Result<()> {
    if let Some(state) = State::read(&folder.state())? {
        state.supervisor.signal(Signal::SIGTERM);
        let asked = Instant::now();
        while state.supervisor.is_alive() {
            if asked.elapsed() > STOPPED_WITHIN {
                // Its children are told by the kernel.
                state.supervisor.signal(Signal::SIGKILL);
            }
            thread::sleep(LOOK_AGAIN);
        }
    }
    let _lock = folder.lock()?.with_context(|| folder.why_locked())?;
    leftovers::clear(folder)
}
