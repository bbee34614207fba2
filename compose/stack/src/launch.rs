//! Starts child processes that cannot outlive this one.
//!
//! Children are started through `setpriv --pdeathsig`: the kernel signals them when their parent dies, even by SIGKILL.
//! To the kernel the parent is the *thread* that started the child. Test threads and threads of async runtimes end early,
//! so one thread that lives as long as the process starts all children.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{self, Sender, SyncSender};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;

use crate::account::Account;

/// A program with everything needed to start it, and to restart it in the same way.
#[derive(Clone, Debug)]
pub struct Program {
    pub name: String,
    pub path: PathBuf,
    pub arguments: Vec<OsString>,
    pub environment: Vec<(String, String)>,
    /// `None`: the account of this process.
    pub account: Option<Account>,
    /// Takes both output streams. Appended to: a restart keeps the last lines of the exited process.
    pub log: PathBuf,
    /// Requests a graceful stop; the kernel also sends it when this process dies.
    pub stop_signal: Signal,
    /// How long a graceful stop may take before the process is killed.
    pub stop_within: Duration,
}

impl Program {
    pub fn start(&self) -> Result<Child> {
        let mut command = tied_to_parent(self.account.as_ref(), self.stop_signal);
        command
            .arg(&self.path)
            .args(&self.arguments)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            // Ctrl-C must not reach the children, which are stopped in order.
            .process_group(0);
        let log = self.open_log().with_context(|| format!("cannot write the log {}", self.log.display()))?;
        command.stdout(log.try_clone()?).stderr(log);
        spawn(command).with_context(|| format!("cannot start {} through setpriv", self.name))
    }

    fn open_log(&self) -> io::Result<File> {
        if let Some(folder) = self.log.parent() {
            fs::create_dir_all(folder)?;
        }
        File::options().create(true).append(true).open(&self.log)
    }
}

/// `setpriv … --`, to be followed by the program, which gets `death_signal` when this process dies.
pub fn tied_to_parent(account: Option<&Account>, death_signal: Signal) -> Command {
    let mut command = Command::new("setpriv");
    if let Some(account) = account {
        command.args(account.setpriv_options()).current_dir(&account.folder);
    }
    command.arg("--pdeathsig").arg(death_signal.as_str().trim_start_matches("SIG")).arg("--");
    command
}

struct Request {
    command: Command,
    answer: SyncSender<io::Result<Child>>,
}

/// Starts `command` on the thread that lives as long as the process.
pub fn spawn(command: Command) -> io::Result<Child> {
    static SPAWNER: OnceLock<Sender<Request>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (sender, requests) = mpsc::channel::<Request>();
        thread::spawn(move || {
            for mut request in requests {
                // The sender waits for the answer.
                let _ = request.answer.send(request.command.spawn());
            }
        });
        sender
    });
    let (answer, answered) = mpsc::sync_channel(1);
    spawner.send(Request { command, answer }).map_err(io::Error::other)?;
    answered.recv().map_err(io::Error::other)?
}
