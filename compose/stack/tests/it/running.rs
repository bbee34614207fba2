//! A whole system, started by `cargo stack up` on an empty folder and free ports.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use reqwest::redirect::Policy;
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};
use stack::identity::ProcessId;
use stack::state::Status;
use stack::{Options, ports};
use tempfile::TempDir;
use tokio::time::sleep;

/// Longer than any single step takes on a busy machine.
const WITHIN: Duration = Duration::from_mins(1);

pub struct Running {
    folder: TempDir,
    options: Options,
    pub http: Client,
}

impl Running {
    /// `cargo stack up --detach`
    pub fn up(more: &[&str]) -> Self {
        let running = Self::prepare();
        running.up_again(more);
        running
    }

    pub fn prepare() -> Self {
        let folder = TempDir::new().unwrap();
        let options = Options::on_free_ports(folder.path()).unwrap();
        // Without keep-alive: idle connections to a stopped Traefik would fail with its successor.
        let http = Client::builder().pool_max_idle_per_host(0).redirect(Policy::none()).build().unwrap();
        Self { folder, options, http }
    }

    /// On the same data, with the same ports.
    pub fn up_again(&self, more: &[&str]) {
        succeed(self.up_command().arg("--detach").args(more));
    }

    /// `cargo stack up` without further options.
    pub fn up_command(&self) -> Command {
        let mut command = stack("up", self.folder());
        command
            .arg(format!("--http-port={}", self.options.http_port))
            .arg(format!("--dashboard-port={}", self.options.dashboard_port));
        command
    }

    pub fn down(&self) {
        succeed(&mut stack("down", self.folder()));
    }

    /// The output of `audit`.
    pub fn audit(&self, arguments: &[&str]) -> String {
        succeed(stack("audit", self.folder()).args(arguments))
    }

    /// The output of `rebuild`.
    pub fn rebuild(&self, options: &[&str]) -> String {
        succeed(stack("rebuild", self.folder()).args(options))
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The output of `status --json`.
    pub fn status_json(&self) -> Value {
        serde_json::from_str(&succeed(stack("status", self.folder()).arg("--json"))).unwrap()
    }

    pub fn status(&self) -> Status {
        serde_json::from_value(self.status_json()).unwrap()
    }

    pub fn pid(&self, name: &str) -> i32 {
        self.status().processes.iter().find(|process| process.name == name).expect(name).pid
    }

    /// All servers and the supervisor.
    pub fn all_pids(&self) -> Vec<i32> {
        let mut pids: Vec<i32> = self.status().processes.iter().map(|process| process.pid).collect();
        pids.push(self.supervisor());
        pids
    }

    pub fn supervisor(&self) -> i32 {
        let state = std::fs::read_to_string(self.folder().join("state.json")).unwrap();
        let state: Value = serde_json::from_str(&state).unwrap();
        state["supervisor"]["pid"].as_i64().unwrap().try_into().unwrap()
    }

    /// The origin of the pages.
    pub fn url(&self) -> String {
        self.options.origin("localhost")
    }

    pub fn http_port(&self) -> u16 {
        self.options.http_port
    }

    pub fn dashboard_port(&self) -> u16 {
        self.options.dashboard_port
    }

    /// Through Traefik.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.request_to("localhost", method, path)
    }

    /// Through Traefik, with a host name that the machine's resolver need not know.
    pub fn request_to(&self, host: &str, method: Method, path: &str) -> RequestBuilder {
        let address = ports::loopback(self.options.http_port);
        self.http.request(method, format!("http://{address}{path}")).header("Host", host).timeout(WITHIN)
    }

    /// Replicas of a service that pass Traefik's health check.
    pub async fn healthy_replicas(&self, service: &str) -> usize {
        let url = format!("http://{}/api/http/services", ports::loopback(self.dashboard_port()));
        let services: Vec<Value> = self.http.get(url).send().await.unwrap().json().await.unwrap();
        let name = format!("{service}@file");
        let service = services.into_iter().find(|service| service["name"] == name).expect("it is configured");
        service["serverStatus"].as_object().unwrap().values().filter(|state| *state == "UP").count()
    }

    /// Buys a licence and returns its position.
    pub async fn buy(&self, license: &str) -> i64 {
        let reply =
            self.request(Method::POST, "/api/buy_mpi").json(&json!({ "license": license })).send().await.unwrap();
        assert_eq!(reply.status(), 201);
        reply.json::<Value>().await.unwrap()["position"].as_i64().unwrap()
    }

    /// The totals that reflect `position`.
    pub async fn totals(&self, position: i64) -> Value {
        let path = format!("/api/get_current_money?min_position={position}");
        let reply = self.request(Method::GET, &path).send().await.unwrap();
        assert_eq!(reply.status(), 200);
        reply.json().await.unwrap()
    }
}

/// A process that is frozen until this is dropped. While it is the supervisor, nothing is restarted.
pub struct Frozen(Pid);

impl Frozen {
    pub fn new(pid: i32) -> Self {
        kill(Pid::from_raw(pid), Signal::SIGSTOP).unwrap();
        Self(Pid::from_raw(pid))
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        let _ = kill(self.0, Signal::SIGCONT);
    }
}

/// Kills a process, and waits until it is dead.
pub async fn kill_and_wait(pid: i32) {
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    until("the process is dead", async || !is_alive(pid)).await;
}

impl Drop for Running {
    fn drop(&mut self) {
        // The failure of the test matters more than that of the clean-up.
        let _ = stack("down", self.folder()).output();
    }
}

/// `cargo stack <command>` on a data folder.
pub fn stack(command: &str, folder: &Path) -> Command {
    let mut stack = Command::new(env!("CARGO_BIN_EXE_stack"));
    stack.arg(command).arg("--data-dir").arg(folder).stdin(Stdio::null());
    stack
}

/// Runs a command to its end, which has to succeed. Returns its output.
#[track_caller]
pub fn succeed(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Waits until a condition holds, with a timeout.
pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !holds().await {
        assert!(started.elapsed() < WITHIN, "{what}: not within {WITHIN:?}");
        sleep(Duration::from_millis(20)).await;
    }
}

/// False for a zombie.
pub fn is_alive(pid: i32) -> bool {
    ProcessId::of(pid).is_ok_and(ProcessId::is_alive)
}
