//! Docker itself: the engine that runs already, or one that we start, and the two plugins that the files need.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use anyhow::Result;
use nix::sys::signal::Signal;
use nix::unistd::geteuid;

use stack::checkout;
use stack::launch::Program;
use stack::process::Process;
use stack::progress::Progress;
use stack::tool::Tool;

const READY_WITHIN: Duration = Duration::from_secs(30);
/// It stops its containers, each in its own time.
const STOP_WITHIN: Duration = Duration::from_mins(1);
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// What needs longer than any of our commands has hung.
const COMMAND_LIMIT: Duration = Duration::from_mins(3);
const KILL_AFTER_SECONDS: u8 = 10;
/// How many of them are shown.
const COMPLAINTS: usize = 20;

pub struct Engine {
    /// Where the client finds its plugins, if it has none by itself.
    config: Option<PathBuf>,
    /// The daemon, if it is ours.
    daemon: Option<Process>,
}

impl Engine {
    /// An engine, or why there is none.
    pub fn find() -> Result<Result<Self, String>> {
        let mut daemon = None;
        if !succeeds(&["version"]) {
            match start()? {
                Ok(process) => daemon = Some(process),
                Err(reason) => return Ok(Err(reason)),
            }
        }
        let mut engine = Self { config: None, daemon };
        if !(succeeds(&["compose", "version"]) && succeeds(&["buildx", "version"])) {
            let Some(config) = fetch_plugins()? else {
                return Ok(Err("Docker lacks its plugins compose and buildx".to_owned()));
            };
            engine.config = Some(config);
        }
        Ok(Ok(engine))
    }

    /// `docker …`
    pub fn docker(&self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Tool {
        self.docker_within(COMMAND_LIMIT, arguments)
    }

    /// `docker …`, ended when it takes longer.
    pub fn docker_within(&self, limit: Duration, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Tool {
        let tool = Tool::new("timeout")
            .args([format!("--kill-after={KILL_AFTER_SECONDS}"), limit.as_secs().to_string(), "docker".to_owned()])
            .args(arguments)
            .in_folder(checkout::root());
        match &self.config {
            Some(folder) => tool.env("DOCKER_CONFIG", folder),
            None => tool,
        }
    }

    /// What `docker …` prints, without the last line break.
    pub fn says(&self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Result<String> {
        Ok(self.docker(arguments).output()?.trim_end().to_owned())
    }

    /// What the daemon last found wrong, if it is ours.
    pub fn complaints(&self) -> String {
        let Some(daemon) = &self.daemon else { return String::new() };
        let log = fs::read_to_string(&daemon.program().log).unwrap_or_else(|error| error.to_string());
        let is_complaint = |line: &&str| line.contains("level=warning") || line.contains("level=error");
        let complaints: Vec<&str> = log.lines().filter(is_complaint).collect();
        complaints[complaints.len().saturating_sub(COMPLAINTS)..].join("\n")
    }
}

fn succeeds(arguments: &[&str]) -> bool {
    Command::new("docker").args(arguments).output().is_ok_and(|output| output.status.success())
}

/// Starts the daemon, or says why that cannot be. On the kernels that we know it needs no option.
fn start() -> Result<Result<Process, String>> {
    let Some(path) = on_path("dockerd") else {
        return Ok(Err("no Docker engine runs here, and none is installed (apt-get install docker.io)".to_owned()));
    };
    if !geteuid().is_root() {
        return Ok(Err("no Docker engine runs here, and only root can start one".to_owned()));
    }
    let program = Program {
        name: "dockerd".to_owned(),
        path,
        arguments: Vec::new(),
        environment: Vec::new(),
        account: None,
        log: checkout::stack_folder().join("docker/dockerd.log"),
        stop_signal: Signal::SIGTERM,
        stop_within: STOP_WITHIN,
    };
    let mut daemon = Process::start(program)?;
    let started = Instant::now();
    while !succeeds(&["version"]) {
        if let Some(status) = daemon.exit_status()? {
            return Ok(Err(daemon.exit_report(status)));
        }
        if started.elapsed() > READY_WITHIN {
            return Ok(Err(format!("dockerd does not answer within {READY_WITHIN:?}")));
        }
        thread::sleep(LOOK_AGAIN);
    }
    Ok(Ok(daemon))
}

fn on_path(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// Compose and buildx from the packages of a distribution, into a folder of ours. `None` where nobody says how.
fn fetch_plugins() -> Result<Option<PathBuf>> {
    let config = checkout::stack_folder().join("docker");
    let plugins = config.join("cli-plugins");
    if plugins.join("docker-compose").is_file() && plugins.join("docker-buildx").is_file() {
        return Ok(Some(config));
    }
    let Some(script) = stand_ins().map(|folder| folder.join("get-compose-v2.sh")).filter(|script| script.is_file())
    else {
        return Ok(None);
    };
    Progress::Shown.step("Compose and buildx", || Tool::new("bash").arg(&script).arg(&plugins).run_quietly())?;
    Ok(Some(config))
}

/// Where the scripts are that make images in place of those that cannot be pulled.
pub fn stand_ins() -> Option<PathBuf> {
    let given = env::var_os("SALES_STAND_INS").map(PathBuf::from);
    given
        .or_else(|| checkout::root().parent().map(|folder| folder.join("shared/standins")))
        .filter(|folder| Path::is_dir(folder))
}
