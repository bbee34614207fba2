//! The real binary of a service, for tests that start, stop and kill it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use nix::sys::signal::Signal;
use reqwest::{Client, Method, RequestBuilder, Response};
use serde_json::{Value, json};
use tokio::task::spawn_blocking;

use crate::{Interrupt, Program, folder};
use stack::probe::Probe;
use stack::process::Process;
use stack::server::Server;
use stack::{checkout, ports};

const READY_TIMEOUT: Duration = Duration::from_secs(30);
const STOP_TIMEOUT: Duration = Duration::from_secs(30);
const RUN_TIMEOUT: Duration = Duration::from_mins(1);

/// A state of a service that tests wait for.
#[derive(Clone, Copy, Debug)]
pub enum Until {
    /// It serves HTTP.
    Live,
    /// It serves requests or projects events.
    Ready,
}

/// A running service. No wait blocks the async runtime, which may have to run a proxy of the same test.
#[derive(Debug)]
pub struct Service {
    address: SocketAddr,
    client: Client,
    process: Option<Process>,
}

impl Service {
    /// Runs `<name> serve` on a free port with these variables, which override those of this process.
    pub async fn start(name: &str, until: Until, environment: &[(&str, &str)]) -> Self {
        Self::start_program(program(name, &["serve"], environment), until).await
    }

    /// The same, with a log that the test provides, such as a device.
    pub async fn start_logging_to(log: &Path, name: &str, until: Until, environment: &[(&str, &str)]) -> Self {
        let program = Program { log: log.to_owned(), ..program(name, &["serve"], environment) };
        Self::start_program(program, until).await
    }

    async fn start_program(mut program: Program, until: Until) -> Self {
        let address = ports::free().expect("a port is free");
        program.environment.push(("LISTEN_ADDRESS".to_owned(), address.to_string()));
        let server = Server { program, address, probe: probe(address, until), ready_within: READY_TIMEOUT };
        let started = blocking(move || server.start_and_wait(&Interrupt::default())).await;
        let process = started.unwrap_or_else(|error| panic!("{error:#}"));
        Self { address, client: Client::new(), process: Some(process) }
    }

    /// Runs a subcommand that does one job, such as `migrate`. Panics with its output if it fails.
    pub async fn run(name: &str, subcommand: &str, environment: &[(&str, &str)]) {
        let program = program(name, &[subcommand], environment);
        let ran = blocking(move || Process::start(program)?.wait_success(RUN_TIMEOUT, &Interrupt::default())).await;
        ran.unwrap_or_else(|error| panic!("{error:#}"));
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn pid(&self) -> i32 {
        self.process().id().pid
    }

    /// Whether it is live, or ready, now.
    pub async fn is(&self, state: Until) -> bool {
        let probe = probe(self.address, state);
        blocking(move || probe.passes()).await
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.url()))
    }

    pub async fn get(&self, path: &str) -> Response {
        self.request(Method::GET, path).send().await.expect("a running service answers")
    }

    /// The body of a successful response.
    pub async fn text(&self, path: &str) -> String {
        let response = self.get(path).await;
        assert_eq!(response.status(), 200, "{path}");
        response.text().await.expect("the body is text")
    }

    /// The same as JSON.
    pub async fn json(&self, path: &str) -> Value {
        serde_json::from_str(&self.text(path).await).expect("the body is JSON")
    }

    /// Buys a licence from a command API. Returns the receipt.
    pub async fn buy(&self, license: &str) -> Value {
        let request = self.request(Method::POST, "/api/buy_mpi").json(&json!({ "license": license }));
        let response = request.send().await.expect("a running service answers");
        assert_eq!(response.status(), 201, "{license}");
        response.json().await.expect("a receipt is JSON")
    }

    /// The value of a metric without labels.
    pub async fn metric(&self, name: &str) -> f64 {
        let text = self.text("/metrics").await;
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("{name} is missing in\n{text}")).parse().expect("a metric is a number")
    }

    /// The log so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.process().program().log).expect("the log can be read")
    }

    /// Sends any signal, such as SIGSTOP.
    pub fn signal(&self, signal: Signal) {
        self.process().id().signal(signal);
    }

    /// Sends SIGKILL.
    pub fn kill(mut self) {
        self.kill_now();
    }

    /// Sends SIGTERM and returns the exit status.
    pub async fn terminate(mut self) -> ExitStatus {
        let mut process = self.process.take().expect("a service is started only once");
        blocking(move || process.stop()).await.expect("the service ends")
    }

    fn process(&self) -> &Process {
        self.process.as_ref().expect("only what consumes the service takes the process")
    }

    fn kill_now(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().expect("a child can be killed");
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.kill_now();
    }
}

pub(crate) fn program(name: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Program {
    let path: PathBuf = checkout::binary(name).unwrap_or_else(|error| panic!("{error}"));
    Program {
        name: name.to_owned(),
        path,
        arguments: arguments.iter().map(Into::into).collect(),
        environment: environment.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect(),
        account: None,
        log: folder::new(name).join(format!("{name}.log")),
        stop_signal: Signal::SIGTERM,
        stop_within: STOP_TIMEOUT,
    }
}

fn probe(address: SocketAddr, until: Until) -> Probe {
    let path = match until {
        Until::Live => "/livez",
        Until::Ready => "/readyz",
    };
    Probe::Http { address, path: path.to_owned() }
}

async fn blocking<T: Send + 'static>(wait: impl FnOnce() -> T + Send + 'static) -> T {
    spawn_blocking(wait).await.expect("a wait does not panic")
}
