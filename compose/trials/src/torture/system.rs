//! The system that is broken: two processes of each service, whose connections to Postgres and NATS run through proxies.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result};
use async_nats::ConnectOptions;
use async_nats::jetstream::{self, stream::Stream};
use nix::unistd::{dup, dup2_stderr};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use stack::data_folder::DataFolder;
use stack::identity::ProcessId;
use stack::interrupt::Interrupt;
use stack::options::{Replicas, Service};
use stack::postgres::ADMIN;
use stack::progress::Progress;
use stack::secrets::Secrets;
use stack::server::Server;
use stack::services::{EVENT_STORE, READ_MODEL};
use stack::state::State;
use stack::{Options, Stack, checkout, tool::Tool};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::torture::disk::{DISKS, Disk};
use crate::torture::kinds::{LINKS, SERVICES};
use crate::torture::proxy::Proxy;

const REPLICAS: usize = 2;
const SUPERVISOR_INTERVAL: Duration = Duration::from_millis(50);
const NATS_TIMEOUT: Duration = Duration::from_secs(5);
pub const STREAM: &str = "SALES_EVENTS";

type Link = (&'static str, &'static str);

#[derive(Debug)]
pub struct System {
    stack: Arc<Mutex<Stack>>,
    stopping: Arc<AtomicBool>,
    supervisor: Option<JoinHandle<()>>,
    pub folder: DataFolder,
    secrets: Secrets,
    /// Unmounted after everything has stopped.
    disks: BTreeMap<&'static str, Disk>,
    pub proxies: BTreeMap<Link, Proxy>,
    pub entrances: Entrances,
    /// The processes of each service.
    pub replicas: BTreeMap<&'static str, Vec<SocketAddr>>,
    /// As superuser, past the proxies.
    pub event_store: PgPool,
    pub read_model: PgPool,
    postgres: SocketAddr,
    nats: SocketAddr,
}

/// Where clients reach the services.
#[derive(Clone, Debug)]
pub struct Entrances {
    pub traefik: SocketAddr,
    pub command_apis: Vec<SocketAddr>,
    pub query_apis: Vec<SocketAddr>,
}

impl Entrances {
    pub fn writable(&self) -> Vec<SocketAddr> {
        [&[self.traefik], &self.command_apis[..]].concat()
    }

    pub fn readable(&self) -> Vec<SocketAddr> {
        [&[self.traefik], &self.query_apis[..]].concat()
    }
}

impl System {
    /// Starts everything in an empty folder, Postgres and NATS on disks of their own if these are wanted. All programs have to be built
    /// already. To be called outside of a runtime.
    pub fn start(
        folder: DataFolder,
        with_disks: bool,
        interrupt: &Interrupt,
        runtime: &tokio::runtime::Runtime,
    ) -> Result<Self> {
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
        let (postgres, nats, traefik) = (address("postgres")?, address("nats")?, address("traefik")?);
        let both = |service: &str| Ok::<_, anyhow::Error>(vec![address(service)?, address(&format!("{service}-2"))?]);
        let replicas =
            SERVICES.into_iter().map(|service| Ok((service, both(service)?))).collect::<Result<BTreeMap<_, _>>>()?;
        let entrances = Entrances {
            traefik,
            command_apis: replicas["command-api"].clone(),
            query_apis: replicas["query-api"].clone(),
        };
        let mut proxies = BTreeMap::new();
        for link in LINKS {
            let server = if link.1 == "nats" { nats } else { postgres };
            proxies.insert(link, runtime.block_on(Proxy::start(server))?);
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
        let url = |database| format!("postgres://{ADMIN}:{}@{postgres}/{database}", secrets.postgres);
        let pool = |database| {
            let _in_runtime = runtime.enter();
            PgPoolOptions::new().max_connections(3).connect_lazy(&url(database))
        };
        let (event_store, read_model) = (pool(EVENT_STORE)?, pool(READ_MODEL)?);
        let stack = Arc::new(Mutex::new(stack));
        let stopping = Arc::new(AtomicBool::new(false));
        let supervisor = Some(supervise(Arc::clone(&stack), Arc::clone(&stopping)));
        Ok(Self {
            stack,
            stopping,
            supervisor,
            folder,
            secrets,
            disks,
            proxies,
            entrances,
            replicas,
            event_store,
            read_model,
            postgres,
            nats,
        })
    }

    fn stack(&self) -> MutexGuard<'_, Stack> {
        self.stack.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Processes that exit meanwhile are not restarted.
    pub fn pause_supervisor(&self) -> MutexGuard<'_, Stack> {
        self.stack()
    }

    pub fn disk(&self, role: &str) -> Result<&Disk> {
        self.disks.get(role).with_context(|| format!("{role} has no disk of its own"))
    }

    /// Restarts the processes of a role in another way.
    pub fn change(&self, role: &str, change: impl Fn(&mut Server)) {
        self.stack().change(role, change);
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

    /// As superuser, for a connection of its own.
    pub fn database_url(&self, database: &str) -> String {
        format!("postgres://{ADMIN}:{}@{}/{database}", self.secrets.postgres, self.postgres)
    }

    pub async fn jetstream(&self) -> Result<jetstream::Context> {
        let options =
            ConnectOptions::with_user_and_password("command-api".to_owned(), self.secrets.command_api_nats.clone());
        let connected = timeout(NATS_TIMEOUT, options.connect(self.nats.to_string())).await;
        Ok(jetstream::new(connected.context("NATS does not answer")??))
    }

    /// The stream of events.
    pub async fn stream(&self) -> Result<Stream> {
        Ok(self.jetstream().await?.get_stream(STREAM).await?)
    }

    pub async fn delete_stream(&self) -> Result<()> {
        self.jetstream().await?.delete_stream(STREAM).await?;
        Ok(())
    }

    /// Runs `auditor verify` on log, tree and all signed checkpoints. Returns its output if it finds a fault.
    pub async fn audit(&self) -> Result<Option<String>> {
        let url = |database| format!("postgres://auditor:{}@{}/{database}", self.secrets.auditor_db, self.postgres);
        let mut tool = Tool::new(checkout::binary("auditor")?)
            .arg("verify")
            .env("EVENT_STORE_URL", url(EVENT_STORE))
            .env("READ_MODEL_URL", url(READ_MODEL))
            .env("CHECKPOINT_PUBLIC_KEY", self.folder.checkpoint_public_key());
        for replica in ["projector", "projector-2"] {
            let checkpoints = self.folder.checkpoint_log(replica);
            if checkpoints.exists() {
                tool = tool.arg("--checkpoints").arg(checkpoints);
            }
        }
        let audited = spawn_blocking(move || tool.output()).await?;
        Ok(audited.err().map(|error| format!("{error:#}")))
    }
}

impl Drop for System {
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

fn supervise(stack: Arc<Mutex<Stack>>, stopping: Arc<AtomicBool>) -> JoinHandle<()> {
    thread::spawn(move || {
        while !stopping.load(Ordering::Relaxed) {
            {
                let mut stack = stack.lock().unwrap_or_else(PoisonError::into_inner);
                stack.restart_exited();
                stack.rotate_large_logs();
            }
            thread::sleep(SUPERVISOR_INTERVAL);
        }
    })
}

/// Reports of the supervisor about each process that a fault ends go to its log while this exists.
#[derive(Debug)]
pub struct QuietSupervisor(std::os::fd::OwnedFd);

impl QuietSupervisor {
    pub fn new(folder: &DataFolder) -> Result<Self> {
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
