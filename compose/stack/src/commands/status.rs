//! `cargo stack status`

use anyhow::{Result, bail};

use crate::cli;
use crate::data_folder::DataFolder;
use crate::state::{State, Status};

pub fn run(arguments: &cli::Status) -> Result<()> {
    let status = read(arguments)?;
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&status)?);
        return Ok(());
    }
    println!("{:<16}{:>8}  {:<22}{:<7}log", "name", "pid", "address", "ready");
    for process in &status.processes {
        let ready = if process.ready { "yes" } else { "no" };
        let (name, pid, log) = (&process.name, process.pid, process.log.display());
        println!("{name:<16}{pid:>8}  {:<22}{ready:<7}{log}", process.address.to_string());
    }
    println!("\n{}", status.urls);
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
