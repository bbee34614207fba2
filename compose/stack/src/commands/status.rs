//! `cargo stack status`

use anyhow::{Result, bail};

use crate::cli;
use crate::data_folder::DataFolder;
use crate::progress::print;
use crate::state::{State, Status};

pub fn run(arguments: &cli::Status) -> Result<()> {
    let status = read(arguments)?;
    if arguments.json {
        print(serde_json::to_string_pretty(&status)?);
        return Ok(());
    }
    print(format_args!("{:<16}{:>8}  {:<22}{:<7}log", "name", "pid", "address", "ready"));
    for process in &status.processes {
        let ready = if process.ready { "yes" } else { "no" };
        let (name, pid, log) = (&process.name, process.pid, process.log.display());
        print(format_args!("{name:<16}{pid:>8}  {:<22}{ready:<7}{log}", process.address.to_string()));
    }
    print(format_args!("\n{}", status.urls));
    Ok(())
}

fn read(arguments: &cli::Status) -> Result<Status> {
    let path = &arguments.data.folder;
    if let Some(folder) = DataFolder::existing(path)
        && let Some(state) = State::read(&folder.state())?
        && state.supervisor.is_alive()
    {
        return Ok(state.status());
    }
    bail!("no stack is running on {}; `cargo stack up` starts one", path.display())
}
