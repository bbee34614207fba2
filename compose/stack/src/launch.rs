//! What a child process is, and how it is started so that it cannot outlive us.
//!
//! Children go through `setpriv --pdeathsig`: the kernel signals them when we die, even by SIGKILL. The kernel takes
//! "we" to be the *thread* that started the child, so that every child is started by one thread that lives as long as
//! the process. Test threads and async runtimes come and go, and would take their children with them.

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

/// A program with everything that it needs to run again in the same way.
#[derive(Clone, Debug)]
pub struct Program {
    pub name: String,
    pub path: PathBuf,
    pub arguments: Vec<OsString>,
    pub environment: Vec<(String, String)>,
    /// Runs as ourselves when `None`.
    pub account: Option<Account>,
    /// Takes both output streams; appended to, so that a restart keeps what its predecessor said last.
    pub log: PathBuf,
    /// Asks for an orderly end; also sent by the kernel when we die.
    pub stop_signal: Signal,
    /// How long an orderly end may take before it is forced.
    pub stop_within: Duration,
}

impl Program {
    pub fn start(&self) -> Result<Child> {
        let mut command = tied_to_us(self.account.as_ref(), self.stop_signal);
        command
            .arg(&self.path)
            .args(&self.arguments)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            // Out of the terminal's group: Ctrl-C is for us, who stop the children in order.
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

/// `setpriv … --`, to be followed by the program: it gets `death_signal` when we die.
pub fn tied_to_us(account: Option<&Account>, death_signal: Signal) -> Command {
    let mut command = Command::new("setpriv");
    if let Some(account) = account {
        command.args(account.setpriv_options());
    }
    command.arg("--pdeathsig").arg(death_signal.as_str().trim_start_matches("SIG")).arg("--");
    command
}

struct Request {
    command: Command,
    answer: SyncSender<io::Result<Child>>,
}

/// Starts `command` on the one thread whose death means that the whole process died.
pub fn spawn(command: Command) -> io::Result<Child> {
    static SPAWNER: OnceLock<Sender<Request>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (sender, requests) = mpsc::channel::<Request>();
        thread::spawn(move || {
            for mut request in requests {
                // The one who asked waits for the answer, so that it can always be delivered.
                let _ = request.answer.send(request.command.spawn());
            }
        });
        sender
    });
    let (answer, answered) = mpsc::sync_channel(1);
    spawner.send(Request { command, answer }).map_err(io::Error::other)?;
    answered.recv().map_err(io::Error::other)?
}
