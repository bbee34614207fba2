//! Who is running, in memory for us and in a file for `status`, `down` and whoever comes after a crash.

use std::fmt;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
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

/// For people: one line each.
impl fmt::Display for Urls {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "  shop       {}", self.shop)?;
        writeln!(formatter, "  sales      {}", self.sales)?;
        writeln!(formatter, "  API        {}", self.api)?;
        writeln!(formatter, "  API docs   {}", self.docs)?;
        write!(formatter, "  dashboard  {}", self.dashboard)
    }
}

/// One process, as it was started last.
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
    /// Everything was ready once.
    pub is_complete: bool,
    pub urls: Urls,
    /// In the order of their start.
    pub processes: Vec<Entry>,
}

impl State {
    /// `None` when no stack runs that has said so.
    pub fn read(file: &Path) -> Result<Option<Self>> {
        match fs::read(file) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map(Some)
                .with_context(|| format!("{} is damaged; stop what it lists and remove it", file.display())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", file.display())),
        }
    }

    /// Asks every process right now whether it is ready.
    pub fn status(&self) -> Status {
        let processes = thread::scope(|scope| {
            let asked: Vec<_> = self.processes.iter().map(|entry| scope.spawn(|| ProcessStatus::of(entry))).collect();
            asked.into_iter().map(|answer| answer.join().expect("a probe does not panic")).collect()
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

/// The state of the stack that this process supervises. Every change goes to the file at once.
#[derive(Debug)]
pub struct Board {
    file: PathBuf,
    state: Mutex<State>,
}

impl Board {
    pub fn new(file: PathBuf, urls: Urls) -> Result<Self> {
        let supervisor = ProcessId::of_ourselves()?;
        let state = State { supervisor, is_complete: false, urls, processes: Vec::new() };
        write(&file, &state)?;
        Ok(Self { file, state: Mutex::new(state) })
    }

    /// A process has started, or started again.
    pub fn record(&self, entry: Entry) -> Result<()> {
        let mut state = self.lock();
        match state.processes.iter_mut().find(|known| known.name == entry.name) {
            Some(known) => *known = entry,
            None => state.processes.push(entry),
        }
        write(&self.file, &state)
    }

    pub fn complete(&self) -> Result<()> {
        let mut state = self.lock();
        state.is_complete = true;
        write(&self.file, &state)
    }

    pub fn state(&self) -> State {
        self.lock().clone()
    }

    /// After everything has stopped.
    pub fn remove_file(&self) -> Result<()> {
        fs::remove_file(&self.file).with_context(|| format!("cannot remove {}", self.file.display()))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Readers see the old state or the new one, never a part.
fn write(file: &Path, state: &State) -> Result<()> {
    let partial = file.with_extension("partial");
    let write = || {
        fs::write(&partial, serde_json::to_vec_pretty(state)?)?;
        fs::rename(&partial, file)
    };
    write().with_context(|| format!("cannot write {}", file.display()))
}
