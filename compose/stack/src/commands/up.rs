//! `cargo stack up`

use std::fs::File;
use std::io::{self, Read, Write};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;

use super::sign_in;
use super::supervise::{self, Output};
use crate::build_services::build_services;
use crate::cli::Up;
use crate::data_folder::{DataFolder, SUPERVISOR};
use crate::identity::ProcessId;
use crate::interrupt::Interrupt;
use crate::options::Options;
use crate::prerequisites::{self, Need};
use crate::progress::Progress;
use crate::state::State;
use crate::{checkout, pages, provision};

const POLL_INTERVAL: Duration = Duration::from_millis(50);

pub fn run(up: &Up) -> Result<()> {
    prerequisites::check(&[Need::Build])?;
    let folder = DataFolder::open(&up.options.data.folder)?;
    // Checked before a build of minutes. The supervisor takes the lock itself.
    drop(folder.lock()?.with_context(|| folder.why_locked())?);
    up.options.check_ports()?;
    prepare(build_services)?;
    if up.detach {
        follow(start_in_background(&up.options, &folder)?, &folder)?;
        // Not printed by the supervisor, whose output is logged.
        if up.options.secure {
            sign_in::run(&up.options.data)?;
        }
        Ok(())
    } else {
        supervise::run(&up.options, Output::Terminal)
    }
}

/// Installs the servers, and builds the services and the pages.
pub fn prepare(build: fn() -> Result<()>) -> Result<()> {
    Progress::Shown.heading("Preparing");
    // Concurrent runs would install into the same folders.
    let _lock = checkout::lock("prepare")?;
    provision::tools(Progress::Shown)?;
    Progress::Shown.step("services", build)?;
    pages::build(Progress::Shown)
}

fn start_in_background(options: &Options, folder: &DataFolder) -> Result<Child> {
    let log = folder.new_supervisor_log()?;
    // By its name: cargo may have replaced this program's own file meanwhile.
    Command::new(checkout::binary("stack")?)
        .arg("supervise")
        .args(options.to_arguments())
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .context("cannot start the supervisor")
}

/// Prints the supervisor's log until everything is ready.
fn follow(mut supervisor: Child, folder: &DataFolder) -> Result<()> {
    let interrupt = Interrupt::listen()?;
    let id = ProcessId::of_child(&supervisor)?;
    let mut log = File::open(folder.log(SUPERVISOR))?;
    let mut print_new = || -> Result<()> {
        let mut new = Vec::new();
        log.read_to_end(&mut new)?;
        // The stack starts as well if the output is closed.
        let _ = io::stdout().write_all(&new).and_then(|()| io::stdout().flush());
        Ok(())
    };
    loop {
        // Before the log is read, so that its last lines are not missed.
        let exited = supervisor.try_wait()?;
        let is_complete =
            State::read(&folder.state())?.is_some_and(|state| state.supervisor == id && state.is_complete);
        print_new()?;
        if let Some(status) = exited {
            bail!("the stack did not start ({status})");
        }
        if is_complete {
            return Ok(());
        }
        if interrupt.is_raised() {
            id.signal(Signal::SIGTERM);
        }
        thread::sleep(POLL_INTERVAL);
    }
}
