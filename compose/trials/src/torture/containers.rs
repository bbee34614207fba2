//! The running containers of a deployment, and connections into their networks, to which no address outside leads.

use std::fmt;
use std::fs::{self, File};
use std::net::TcpStream as BlockingStream;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sched::{CloneFlags, setns};
use stack::ports::loopback;
use stack::tool::Tool;
use tokio::net::TcpStream;
use tokio::sync::{Mutex, oneshot};
use tokio::task::spawn_blocking;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Connections to a container that does not run are frequent. They list the containers no more often.
const LIST_INTERVAL: Duration = Duration::from_millis(500);
const SECONDS_PER_COMMAND: &str = "20";

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    pub id: String,
    pub service: String,
    /// From 1; a container that replaces another one has the same.
    slot: usize,
    /// Of its first process, as the host sees it.
    pub pid: i32,
}

#[derive(Debug)]
pub struct Containers {
    /// Of the stack.
    name: String,
    listed: Mutex<Listed>,
}

#[derive(Debug, Default)]
struct Listed {
    containers: Vec<Container>,
    at: Option<Instant>,
}

impl Containers {
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), listed: Mutex::default() }
    }

    /// Those of any of the services.
    pub async fn of(&self, services: &[&str]) -> Result<Vec<Container>> {
        let containers = self.list().await?;
        Ok(containers.into_iter().filter(|container| services.contains(&&*container.service)).collect())
    }

    /// The one with this slot. Lists the containers only if it is not known, or no longer runs.
    async fn find(&self, service: &str, slot: usize) -> Result<Container> {
        let mut listed = self.listed.lock().await;
        let is_it = |container: &&Container| container.service == service && container.slot == slot && container.runs();
        if let Some(found) = listed.containers.iter().find(is_it) {
            return Ok(found.clone());
        }
        if listed.at.is_none_or(|at| at.elapsed() > LIST_INTERVAL) {
            listed.at = Some(Instant::now());
            listed.containers = self.list().await?;
        }
        let found = listed.containers.iter().find(is_it);
        found.cloned().with_context(|| format!("{service} {slot} does not run"))
    }

    async fn list(&self) -> Result<Vec<Container>> {
        let format = "{{.Id}} {{.State.Pid}} {{index .Config.Labels \"com.docker.swarm.task.name\"}}".to_owned();
        let filter = format!("label=com.docker.stack.namespace={}", self.name);
        let ids = docker(vec!["ps".into(), "--quiet".into(), "--filter".into(), filter]).await?;
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let inspect = ["inspect".into(), "--format".into(), format];
        let list = docker(inspect.into_iter().chain(ids.lines().map(str::to_owned)).collect()).await?;
        Ok(list.lines().filter_map(|line| Container::parse(line, &self.name)).collect())
    }
}

async fn docker(arguments: Vec<String>) -> Result<String> {
    let tool = Tool::new("timeout").args([SECONDS_PER_COMMAND, "docker"]).args(arguments);
    spawn_blocking(move || tool.output()).await?
}

impl Container {
    /// From its id, its process, and the name of its task: the service, the slot, and an id.
    fn parse(line: &str, stack: &str) -> Option<Self> {
        let mut words = line.split(' ');
        let (id, pid, task) = (words.next()?, words.next()?.parse().ok()?, words.next()?);
        let mut parts = task.strip_prefix(stack)?.strip_prefix('_')?.split('.');
        let (service, slot) = (parts.next()?.to_owned(), parts.next()?.parse().ok()?);
        Some(Self { id: id.to_owned(), service, slot, pid })
    }

    /// Its first process is alive, and not another one with the same number.
    fn runs(&self) -> bool {
        fs::read_to_string(format!("/proc/{}/cgroup", self.pid)).is_ok_and(|groups| groups.contains(&self.id))
    }
}

impl fmt::Display for Container {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}, {}", self.service, self.slot, self.id)
    }
}

/// A port of the container in a slot of a service.
#[derive(Debug)]
pub struct Port {
    pub containers: Arc<Containers>,
    pub service: &'static str,
    pub slot: usize,
    pub number: u16,
}

impl Port {
    /// On the loopback of the container, so that no fault of its networks disturbs the connection.
    pub async fn connect(&self) -> Result<TcpStream> {
        let container = self.containers.find(self.service, self.slot).await?;
        let (sender, receiver) = oneshot::channel();
        let port = self.number;
        // A thread of its own, which stays in the network of the container.
        thread::spawn(move || {
            // The receiver may have given up.
            let _ = sender.send(connect_inside(container.pid, port));
        });
        let stream = receiver.await.context("the thread has ended")??;
        stream.set_nonblocking(true)?;
        Ok(TcpStream::from_std(stream)?)
    }
}

fn connect_inside(pid: i32, port: u16) -> Result<BlockingStream> {
    let network = File::open(format!("/proc/{pid}/ns/net"))?;
    setns(network, CloneFlags::CLONE_NEWNET)?;
    Ok(BlockingStream::connect_timeout(&loopback(port), CONNECT_TIMEOUT)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_is_known_by_its_task() {
        let expected = Container { id: "4f".to_owned(), service: "command-api".to_owned(), slot: 2, pid: 17 };
        assert_eq!(Container::parse("4f 17 sales-test-1_command-api.2.x7y", "sales-test-1"), Some(expected));
        for other in ["4f 17 sales-test-12_command-api.2.x7y", "4f 17 ", "4f 17 sales-test-1_web"] {
            assert_eq!(Container::parse(other, "sales-test-1"), None, "{other}");
        }
    }
}
