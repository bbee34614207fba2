//! The processes of a running stack, written to a file for `status`, `down` and the next `up` after a crash.

use std::fmt;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::thread;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::identity::ProcessId;
use crate::options::Options;
use crate::probe::Probe;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Urls {
    pub shop: String,
    pub sales: String,
    pub api: String,
    pub docs: String,
    pub dashboard: String,
}

impl Urls {
    pub fn new(options: &Options) -> Self {
        let (pages, api) = (options.origin("localhost"), options.origin("sales.localhost"));
        Self {
            shop: format!("{pages}/"),
            sales: format!("{pages}/sales.html"),
            api: format!("{api}/api"),
            docs: format!("{api}/docs"),
            dashboard: format!("http://localhost:{}/dashboard/", options.dashboard_port),
        }
    }
}

impl fmt::Display for Urls {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "  shop       {}", self.shop)?;
        writeln!(formatter, "  sales      {}", self.sales)?;
        writeln!(formatter, "  API        {}", self.api)?;
        writeln!(formatter, "  API docs   {}", self.docs)?;
        write!(formatter, "  dashboard  {}", self.dashboard)
    }
}

/// One process; after a restart, the new one.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Entry {
    pub name: String,
    pub id: ProcessId,
    pub address: SocketAddr,
    pub probe: Probe,
    pub log: PathBuf,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct State {
    pub supervisor: ProcessId,
    /// All servers have become ready.
    pub is_complete: bool,
    pub urls: Urls,
    /// Access tokens are required.
    #[serde(default)]
    pub secure: bool,
    /// In start order.
    pub processes: Vec<Entry>,
}

impl State {
    /// Of a stack that this process is about to start.
    pub fn new(options: &Options) -> Result<Self> {
        let (urls, secure) = (Urls::new(options), options.secure);
        Ok(Self { supervisor: ProcessId::own()?, is_complete: false, urls, secure, processes: Vec::new() })
    }

    /// `None` if no stack runs on the data folder.
    pub fn read(file: &Path) -> Result<Option<Self>> {
        match fs::read(file) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).with_context(|| {
                format!("{} is damaged; stop the processes that it lists and remove it", file.display())
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", file.display())),
        }
    }

    /// Readers see the old state or the new one, never a part.
    pub fn write(&self, file: &Path) -> Result<()> {
        let partial = file.with_extension("partial");
        let write = || {
            fs::write(&partial, serde_json::to_vec_pretty(self)?)?;
            fs::rename(&partial, file)
        };
        write().with_context(|| format!("cannot write {}", file.display()))
    }

    /// Probes all processes concurrently.
    pub fn status(&self) -> Status {
        let processes = thread::scope(|scope| {
            let probes: Vec<_> = self.processes.iter().map(|entry| scope.spawn(|| ProcessStatus::of(entry))).collect();
            probes.into_iter().map(|probe| probe.join().expect("a probe does not panic")).collect()
        });
        Status { urls: self.urls.clone(), processes }
    }
}

/// What `cargo stack status --json` prints.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Status {
    pub urls: Urls,
    pub processes: Vec<ProcessStatus>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ProcessStatus {
    pub name: String,
    pub pid: i32,
    pub address: SocketAddr,
    pub ready: bool,
    pub log: PathBuf,
}

impl ProcessStatus {
    fn of(entry: &Entry) -> Self {
        Self {
            name: entry.name.clone(),
            pid: entry.id.pid,
            address: entry.address,
            ready: entry.id.is_alive() && entry.probe.passes(),
            log: entry.log.clone(),
        }
    }
}
