//! `cargo stack up`

use std::fs::File;
use std::io::{self, Read, Write};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;

use super::supervise::{self, Terminal};
use crate::access;
use crate::build_services::build_services;
use crate::cli::Up;
use crate::data_folder::{DataFolder, SUPERVISOR};
use crate::identity::ProcessId;
use crate::interrupt::Interrupt;
use crate::options::Options;
use crate::progress::Progress;
use crate::secrets::Secrets;
use crate::state::State;
use crate::{checkout, pages, prerequisites, provision};

/// How often the one in front looks at what the one in the background says.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

pub fn run(up: &Up) -> Result<()> {
    prerequisites::check()?;
    let folder = DataFolder::open(&up.options.data.folder)?;
    // Looked at before building, which may take minutes. The lock itself is for the one that keeps running.
    drop(folder.lock()?.with_context(|| folder.why_locked())?);
    up.options.check_ports()?;
    prepare()?;
    if up.detach {
        follow(start_in_background(&up.options, &folder)?, &folder)?;
        // Here and not by the one in the background, what it says is kept.
        if up.options.secure {
            let secrets = Secrets::load_or_make(&folder.secrets())?;
            print!("{}", access::how_to_sign_in(&up.options, &secrets.access_tokens));
        }
        Ok(())
    } else {
        supervise::run(&up.options, Terminal::Here)
    }
}

/// Installs and builds what changed since the last time.
pub fn prepare() -> Result<()> {
    Progress::Shown.heading("Preparing");
    // Two that start at the same time would install into the same folders.
    let _one_at_a_time = checkout::lock("prepare")?;
    provision::tools(Progress::Shown)?;
    Progress::Shown.step("services", build_services)?;
    pages::build(Progress::Shown)
}

fn start_in_background(options: &Options, folder: &DataFolder) -> Result<Child> {
    let log = folder.new_supervisor_log()?;
    // By its name: cargo may have put a new file in our own one's place meanwhile.
    Command::new(checkout::binary("stack")?)
        .arg("supervise")
        .args(options.to_arguments())
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .context("cannot start the supervisor")
}

/// Shows what the supervisor says until everything is ready.
fn follow(mut supervisor: Child, folder: &DataFolder) -> Result<()> {
    let interrupt = Interrupt::listen()?;
    let id = ProcessId::of_child(&supervisor)?;
    let mut log = File::open(folder.log(SUPERVISOR))?;
    let mut show_news = || -> Result<()> {
        let mut news = Vec::new();
        log.read_to_end(&mut news)?;
        io::stdout().write_all(&news)?;
        Ok(io::stdout().flush()?)
    };
    loop {
        // Asked before reading the log: what it says last is not missed.
        let ended = supervisor.try_wait()?;
        let is_complete =
            State::read(&folder.state())?.is_some_and(|state| state.supervisor == id && state.is_complete);
        show_news()?;
        if let Some(status) = ended {
            bail!("the stack did not start ({status})");
        }
        if is_complete {
            return Ok(());
        }
        if interrupt.is_raised() {
            id.signal(Signal::SIGTERM);
        }
        thread::sleep(LOOK_AGAIN);
    }
}
