//! The Docker engine, found or started, and the plugins Compose and buildx.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use anyhow::Result;
use nix::sys::signal::Signal;
use nix::unistd::geteuid;
use serde_json::Value;

use stack::checkout;
use stack::launch::Program;
use stack::process::Process;
use stack::progress::{Progress, report};
use stack::tool::Tool;

const READY_WITHIN: Duration = Duration::from_secs(30);
/// The daemon stops its containers first.
const STOP_WITHIN: Duration = Duration::from_mins(1);
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// Longer than any command takes.
const COMMAND_LIMIT: Duration = Duration::from_mins(3);
const KILL_AFTER_SECONDS: u8 = 10;
const SHOWN_WARNINGS: usize = 20;

pub struct Engine {
    /// `DOCKER_CONFIG` with the plugins, unless they are installed.
    config: Option<PathBuf>,
    /// The daemon, unless one ran already.
    daemon: Option<Process>,
}

impl Engine {
    /// An engine, or the reason why there is none.
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

    /// `docker …` with a time limit.
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

    /// The output of `docker …`, without the last line break.
    pub fn output(&self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Result<String> {
        Ok(self.docker(arguments).output()?.trim_end().to_owned())
    }

    /// The networks of a container, by name.
    pub fn networks(&self, container: &str) -> Result<Value> {
        let format = "{{json .NetworkSettings.Networks}}";
        Ok(serde_json::from_str(&self.output(["inspect", "--format", format, container])?)?)
    }

    /// The last warnings and errors of the daemon, if this process started it.
    pub fn warnings(&self) -> String {
        let Some(daemon) = &self.daemon else { return String::new() };
        let log = fs::read_to_string(&daemon.program().log).unwrap_or_else(|error| error.to_string());
        let is_warning = |line: &&str| line.contains("level=warning") || line.contains("level=error");
        let warnings: Vec<&str> = log.lines().filter(is_warning).collect();
        warnings[warnings.len().saturating_sub(SHOWN_WARNINGS)..].join("\n")
    }
}

fn succeeds(arguments: &[&str]) -> bool {
    Command::new("docker").args(arguments).output().is_ok_and(|output| output.status.success())
}

/// Starts the daemon, or returns the reason why that is impossible.
fn start() -> Result<Result<Process, String>> {
    let Some(path) = on_path("dockerd") else {
        return Ok(Err("no Docker engine is running, and none is installed (apt-get install docker.io)".to_owned()));
    };
    if !geteuid().is_root() {
        return Ok(Err("no Docker engine is running, and only root can start one".to_owned()));
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
            return Ok(Err(format!("dockerd is not ready within {READY_WITHIN:?}")));
        }
        thread::sleep(POLL_INTERVAL);
    }
    Ok(Ok(daemon))
}

fn on_path(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// Installs Compose and buildx in the stack folder, with a script of the stand-ins. `None` without that script.
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

/// The folder of scripts that build images on machines that cannot pull them.
pub fn stand_ins() -> Option<PathBuf> {
    let given = env::var_os("SALES_STAND_INS").map(PathBuf::from);
    given
        .or_else(|| checkout::root().parent().map(|folder| folder.join("shared/standins")))
        .filter(|folder| Path::is_dir(folder))
}

/// Prints `log` if `result` is an error.
pub fn explained(result: Result<()>, log: impl FnOnce() -> String) -> Result<()> {
    if result.is_err() {
        report(log());
    }
    result
}
