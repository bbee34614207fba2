//! A native system: two processes of each service, whose connections to Postgres and NATS run through proxies.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::unistd::{dup, dup2_stderr};
use stack::data_folder::DataFolder;
use stack::identity::ProcessId;
use stack::interrupt::Interrupt;
use stack::options::{Replicas, Service};
use stack::progress::Progress;
use stack::secrets::Secrets;
use stack::server::Server;
use stack::state::State;
use stack::{Options, Stack};
use tokio::runtime::Runtime;
use tokio::task::spawn_blocking;

use crate::torture::addresses::{Addresses, Checkpoints, Stores};
use crate::torture::disk::{DISKS, Disk};
use crate::torture::kinds::{LINKS, SERVERS, SERVICES};
use crate::torture::proxy::{Mode, Proxy, Upstream};

const REPLICAS: usize = 2;
const SUPERVISOR_INTERVAL: Duration = Duration::from_millis(50);

type Link = (&'static str, &'static str);

#[derive(Debug)]
pub struct Native {
    pub stack: Arc<SharedStack>,
    stopping: Arc<AtomicBool>,
    supervisor: Option<JoinHandle<()>>,
    pub folder: DataFolder,
    /// Unmounted after everything has stopped.
    disks: BTreeMap<&'static str, Disk>,
    pub proxies: BTreeMap<Link, Proxy>,
    _quiet: QuietSupervisor,
}

/// Starts everything in an empty folder, Postgres and NATS on disks of their own if these are wanted. All programs have to be built
/// already. To be called outside of a runtime.
pub fn start(
    folder: DataFolder,
    with_disks: bool,
    interrupt: &Interrupt,
    runtime: &Runtime,
) -> Result<(Native, Addresses)> {
    let mut options = Options::on_free_ports(folder.path())?;
    options.replicas = Service::ALL.map(|service| Replicas { service, count: REPLICAS }).into();
    let mut stack = Stack::start(&options, Progress::Shown, interrupt)?;
    let mut disks = BTreeMap::new();
    for (role, bytes) in DISKS.into_iter().filter(|_| with_disks) {
        stack.pause(role);
        disks.insert(role, Disk::create(&folder, role, bytes).context("no disk for power losses")?);
        stack.resume(role)?;
    }
    let secrets = Secrets::load_or_create(&folder.secrets())?;
    let address = |name: &str| stack.server(name).map(|server| server.address);
    let url = |name: &str| Ok::<_, anyhow::Error>(format!("http://{}", address(name)?));
    let (postgres, nats, traefik) = (address("postgres")?, address("nats")?, url("traefik")?);
    let both = |service: &str| Ok::<_, anyhow::Error>(vec![url(service)?, url(&format!("{service}-2"))?]);
    let replicas =
        SERVICES.into_iter().map(|service| Ok((service, both(service)?))).collect::<Result<BTreeMap<_, _>>>()?;
    let mut proxies = BTreeMap::new();
    for link in LINKS {
        let server = if link.1 == "nats" { nats } else { postgres };
        proxies.insert(link, runtime.block_on(Proxy::start(Upstream::Address(server)))?);
    }
    fs::create_dir_all(fail_points(&folder))?;
    for service in SERVICES {
        stack.change(service, |server| {
            let folder = fail_points(&folder).display().to_string();
            server.program.environment.push(("FAIL_POINTS".to_owned(), folder));
            for (link, proxy) in proxies.iter().filter(|(link, _)| link.0 == service) {
                reroute(server, if link.1 == "nats" { nats } else { postgres }, proxy.address);
            }
        });
    }
    let stores = Stores {
        postgres,
        nats,
        admin_password: secrets.postgres,
        auditor_password: secrets.auditor_db,
        nats_password: secrets.command_api_nats,
    };
    let stack = Arc::new(SharedStack(Mutex::new(stack)));
    let stopping = Arc::new(AtomicBool::new(false));
    let supervisor = Some(supervise(Arc::clone(&stack), Arc::clone(&stopping)));
    let quiet = QuietSupervisor::new(&folder)?;
    let native = Native { stack, stopping, supervisor, folder, disks, proxies, _quiet: quiet };
    Ok((native, Addresses { traefik, token: None, replicas, stores }))
}

/// Shared with the supervisor.
#[derive(Debug)]
pub struct SharedStack(Mutex<Stack>);

impl SharedStack {
    /// Processes that exit meanwhile are not restarted.
    pub fn pause_supervisor(&self) -> MutexGuard<'_, Stack> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Native {
    pub fn disk(&self, role: &str) -> Result<&Disk> {
        self.disks.get(role).with_context(|| format!("{role} has no disk of its own"))
    }

    /// Restarts the processes of a role in another way.
    pub fn change(&self, role: &str, change: impl Fn(&mut Server)) {
        self.stack.pause_supervisor().change(role, change);
    }

    /// Ends what breaks connections, and restarts everything.
    pub fn restart_all(&self) {
        for proxy in self.proxies.values() {
            proxy.set(Mode::Forward, 0);
        }
        for role in SERVERS.into_iter().chain(SERVICES) {
            self.change(role, |_| {});
        }
    }

    /// The running processes of a role.
    pub fn processes(&self, role: &str) -> Result<Vec<ProcessId>> {
        let state = State::read(&self.folder.state())?.context("the stack has a state file")?;
        let second = format!("{role}-2");
        let entries = state.processes.into_iter().filter(|entry| entry.name == role || entry.name == second);
        Ok(entries.map(|entry| entry.id).collect())
    }

    /// The processes that are not ready.
    pub async fn unready(&self) -> Result<Vec<String>> {
        let state = State::read(&self.folder.state())?.context("the stack has a state file")?;
        let status = spawn_blocking(move || state.status()).await?;
        Ok(status.processes.into_iter().filter(|process| !process.ready).map(|process| process.name).collect())
    }

    /// A file in this folder arms the fail point of its name.
    pub fn fail_points(&self) -> PathBuf {
        fail_points(&self.folder)
    }

    pub fn checkpoints(&self) -> Checkpoints {
        let logs = ["projector", "projector-2"].map(|replica| self.folder.checkpoint_log(replica));
        Checkpoints {
            public_key: self.folder.checkpoint_public_key(),
            logs: logs.into_iter().filter(|log| log.exists()).collect(),
        }
    }
}

impl Drop for Native {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Relaxed);
        if let Some(supervisor) = self.supervisor.take() {
            // It has reported a panic already.
            let _ = supervisor.join();
        }
    }
}

fn fail_points(folder: &DataFolder) -> PathBuf {
    folder.path().join("fail-points")
}

fn reroute(server: &mut Server, from: SocketAddr, to: SocketAddr) {
    let (from, to) = (format!("@{from}"), format!("@{to}"));
    for (_, value) in &mut server.program.environment {
        *value = value.replace(&from, &to);
    }
}

fn supervise(stack: Arc<SharedStack>, stopping: Arc<AtomicBool>) -> JoinHandle<()> {
    thread::spawn(move || {
        while !stopping.load(Ordering::Relaxed) {
            {
                let mut stack = stack.pause_supervisor();
                stack.restart_exited();
                stack.rotate_large_logs();
            }
            thread::sleep(SUPERVISOR_INTERVAL);
        }
    })
}

/// Reports of the supervisor about each process that a fault ends go to its log while this exists.
#[derive(Debug)]
struct QuietSupervisor(std::os::fd::OwnedFd);

impl QuietSupervisor {
    fn new(folder: &DataFolder) -> Result<Self> {
        let terminal = dup(std::io::stderr())?;
        let log: File = folder.new_supervisor_log()?;
        dup2_stderr(log)?;
        Ok(Self(terminal))
    }
}

impl Drop for QuietSupervisor {
    fn drop(&mut self) {
        let _ = dup2_stderr(&self.0);
    }
}
