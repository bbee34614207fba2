//! The whole system: every process in the order in which they need each other, kept running until stopped.

use std::fs::File;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::access;
use crate::data_folder::DataFolder;
use crate::interrupt::Interrupt;
use crate::keeper::Keeper;
use crate::launch::Program;
use crate::leftovers;
use crate::options::Options;
use crate::plan::Plan;
use crate::process::Process;
use crate::progress::Progress;
use crate::provision;
use crate::secrets::Secrets;
use crate::server::Server;
use crate::services::Wiring;
use crate::state::{Board, Status, Urls};

/// First no more requests, then no more purchases, then nobody who reads them, then what held them.
const STOP_ORDER: [&str; 7] = ["traefik", "web", "command-api", "query-api", "projector", "nats", "postgres"];

/// A migration may have to rewrite a table.
const DONE_WITHIN: Duration = Duration::from_mins(10);

/// A running system. Stops in order when dropped, and ends with this process in any case.
#[derive(Debug)]
pub struct Stack {
    /// In the order of their start.
    keepers: Vec<Keeper>,
    /// How each was started, with its role, in the same order.
    servers: Vec<(&'static str, Server)>,
    board: Arc<Board>,
    progress: Progress,
    interrupt: Interrupt,
    /// Says that the data folder is in use.
    _lock: File,
}

impl Stack {
    /// Starts everything and waits until all of it is ready. The services and the pages have to be built before.
    pub fn start(options: &Options, progress: Progress, interrupt: &Interrupt) -> Result<Self> {
        let folder = DataFolder::open(&options.data.folder)?;
        let lock = folder.lock()?.with_context(|| folder.why_locked())?;
        leftovers::clear(&folder)?;
        options.check_ports()?;
        folder.rotate_logs()?;
        let tools = provision::tools(progress)?;
        let mut secrets = Secrets::load_or_make(&folder.secrets())?;
        if options.secure {
            access::make_tokens(&mut secrets, &folder)?;
        }
        let plan = Plan::new(options, tools, &folder, &secrets)?;
        let board = Board::new(folder.state(), Urls::new(options))?;
        let mut stack = Self {
            keepers: Vec::new(),
            servers: Vec::new(),
            board: Arc::new(board),
            progress,
            interrupt: interrupt.clone(),
            _lock: lock,
        };
        stack.add_all(&plan, &Wiring { plan: &plan, secrets: &secrets, folder: &folder, options })?;
        stack.board.complete()?;
        Ok(stack)
    }

    pub fn urls(&self) -> Urls {
        self.board.state().urls
    }

    /// Who runs, and who is ready right now.
    pub fn status(&self) -> Status {
        self.board.state().status()
    }

    /// How a process was started, for who wants to start another one like it.
    pub fn server(&self, name: &str) -> Option<&Server> {
        self.servers.iter().map(|(_, server)| server).find(|server| server.program.name == name)
    }

    /// Stops every process of a role, until `resume`.
    pub fn pause(&mut self, role: &str) {
        self.keepers.retain(|keeper| keeper.role() != role);
    }

    /// Starts every process of a role again, as it was.
    pub fn resume(&mut self, role: &str) -> Result<()> {
        for (role, server) in self.servers.clone().into_iter().filter(|(known, _)| *known == role) {
            self.keep(role, server)?;
        }
        Ok(())
    }

    /// Stops everything in order, each within its bound.
    pub fn stop(self) {
        drop(self);
    }

    fn add_all(&mut self, plan: &Plan, wiring: &Wiring) -> Result<()> {
        if !plan.cluster.is_initialized() {
            self.progress.step("postgres data folder", || plan.cluster.initialize(&self.interrupt))?;
        }
        self.add("postgres", plan.cluster.server()?)?;
        self.add("nats", plan.nats.server()?)?;
        if !wiring.folder.checkpoint_key().exists() {
            self.run(wiring.make_checkpoint_key()?)?;
        }
        if !wiring.folder.license_key().exists() {
            self.run(wiring.make_license_key()?)?;
        }
        for migration in [wiring.migrate_event_store()?, wiring.migrate_read_model()?] {
            self.run(migration)?;
        }
        for replica in &plan.replicas {
            self.add(replica.service.name(), wiring.service(replica)?)?;
        }
        self.add("web", wiring.web()?)?;
        self.add("traefik", plan.traefik.server()?)
    }

    /// A program that ends by itself.
    fn run(&self, program: Program) -> Result<()> {
        let name = program.name.clone();
        self.progress.step(&name, || Process::start(program)?.wait_success(DONE_WITHIN, &self.interrupt))
    }

    fn add(&mut self, role: &'static str, server: Server) -> Result<()> {
        self.servers.push((role, server.clone()));
        self.keep(role, server)
    }

    fn keep(&mut self, role: &'static str, server: Server) -> Result<()> {
        let process = self.progress.step(&server.program.name, || server.start_and_wait(&self.interrupt))?;
        self.keepers.push(Keeper::new(role, server, process, Arc::clone(&self.board))?);
        Ok(())
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        self.progress.heading("Stopping");
        for role in STOP_ORDER {
            let started = Instant::now();
            let mut replicas: Vec<Keeper> = self.keepers.extract_if(.., |keeper| keeper.role() == role).collect();
            for replica in &mut replicas {
                replica.ask_to_stop();
            }
            if !replicas.is_empty() {
                drop(replicas);
                self.progress.done(role, started.elapsed());
            }
        }
        if let Err(error) = self.board.remove_file() {
            eprintln!("{error:#}");
        }
    }
}
