//! The whole system: every server, started in dependency order and stopped in reverse.

use std::fs::{self, File};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::access;
use crate::data_folder::DataFolder;
use crate::interrupt::Interrupt;
use crate::launch::Program;
use crate::log_rotation::LogRotation;
use crate::options::Options;
use crate::orphans;
use crate::plan::Plan;
use crate::process::Process;
use crate::progress::{Progress, report};
use crate::provision;
use crate::secrets::Secrets;
use crate::server::Server;
use crate::services::Wiring;
use crate::state::{State, Status, Urls};
use crate::supervised::Supervised;

/// Requests end first, then the services, then their servers.
const STOP_ORDER: [&str; 7] = ["traefik", "web", "command-api", "query-api", "projector", "nats", "postgres"];

/// A migration may have to rewrite a table.
const JOB_TIMEOUT: Duration = Duration::from_mins(10);

/// A running system. Stops in order when dropped, and ends with this process in any case.
#[derive(Debug)]
pub struct Stack {
    /// In start order.
    running: Vec<Supervised>,
    /// All servers with their roles, paused ones included.
    servers: Vec<(&'static str, Server)>,
    state: State,
    folder: DataFolder,
    log_rotation: LogRotation,
    progress: Progress,
    interrupt: Interrupt,
    /// Marks the data folder as in use.
    _lock: File,
}

impl Stack {
    /// Starts all servers and waits until they are ready. The services and the pages must have been built.
    pub fn start(options: &Options, progress: Progress, interrupt: &Interrupt) -> Result<Self> {
        let folder = DataFolder::open(&options.data.folder)?;
        let lock = folder.lock()?.with_context(|| folder.why_locked())?;
        orphans::end(&folder)?;
        options.check_ports()?;
        folder.rotate_logs()?;
        let tools = provision::tools(progress)?;
        let mut secrets = Secrets::load_or_create(&folder.secrets())?;
        if options.secure {
            access::create_tokens(&mut secrets, &folder)?;
        }
        let plan = Plan::new(options, tools, &folder, &secrets)?;
        let state = State::new(options)?;
        state.write(&folder.state())?;
        let mut stack = Self {
            running: Vec::new(),
            servers: Vec::new(),
            state,
            folder: folder.clone(),
            log_rotation: LogRotation::new(folder.clone()),
            progress,
            interrupt: interrupt.clone(),
            _lock: lock,
        };
        stack.add_all(&plan, &Wiring { plan: &plan, secrets: &secrets, folder: &folder, options })?;
        stack.state.is_complete = true;
        stack.save_state()?;
        Ok(stack)
    }

    pub fn urls(&self) -> &Urls {
        &self.state.urls
    }

    pub fn status(&self) -> Status {
        self.state.status()
    }

    /// How a server was started.
    pub fn server(&self, name: &str) -> Result<&Server> {
        let server = self.servers.iter().map(|(_, server)| server).find(|server| server.program.name == name);
        server.with_context(|| format!("the stack has no {name}"))
    }

    /// Stops the servers of a role, until `resume`.
    pub fn pause(&mut self, role: &str) {
        let mut stopping: Vec<_> = self.running.extract_if(.., |server| server.role == role).collect();
        stopping.iter_mut().for_each(Supervised::request_stop);
    }

    /// Starts the servers of a paused role again.
    pub fn resume(&mut self, role: &str) -> Result<()> {
        for (role, server) in self.servers.clone().into_iter().filter(|(known, _)| *known == role) {
            self.start_server(role, server)?;
        }
        Ok(())
    }

    /// Changes how the servers of a role are started, and stops them: `restart_exited` then starts them as changed.
    pub fn change(&mut self, role: &str, change: impl Fn(&mut Server)) {
        for (_, server) in self.servers.iter_mut().filter(|(known, _)| *known == role) {
            change(server);
        }
        for running in self.running.iter_mut().filter(|running| running.role == role) {
            change(&mut running.server);
            running.request_stop();
        }
    }

    /// Restarts the servers that have exited. To be called regularly.
    pub fn restart_exited(&mut self) {
        let mut restarted = false;
        for server in &mut self.running {
            match server.restart_if_exited() {
                Ok(restarts) => restarted |= restarts,
                Err(error) => report(format_args!("{error:#}")),
            }
        }
        if restarted && let Err(error) = self.save_state() {
            report(format_args!("{error:#}"));
        }
    }

    /// Keeps the logs from filling the disk. To be called regularly.
    pub fn rotate_large_logs(&mut self) {
        if let Some(error) = self.log_rotation.run(Instant::now()) {
            report(format_args!("cannot rotate the logs: {error}"));
        }
    }

    /// Stops all servers in order.
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
            self.run(wiring.create_checkpoint_key()?)?;
        }
        if !wiring.folder.license_key().exists() {
            self.run(wiring.create_license_key()?)?;
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

    /// Runs a program that does one job and exits.
    fn run(&self, program: Program) -> Result<()> {
        let name = program.name.clone();
        self.progress.step(&name, || Process::start(program)?.wait_success(JOB_TIMEOUT, &self.interrupt))
    }

    fn add(&mut self, role: &'static str, server: Server) -> Result<()> {
        self.servers.push((role, server.clone()));
        self.start_server(role, server)
    }

    fn start_server(&mut self, role: &'static str, server: Server) -> Result<()> {
        let name = server.program.name.clone();
        let started = self.progress.step(&name, || Supervised::start(role, server, &self.interrupt))?;
        self.running.push(started);
        self.save_state()
    }

    fn save_state(&mut self) -> Result<()> {
        self.state.processes = self.running.iter().map(Supervised::entry).collect();
        self.state.write(&self.folder.state())
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        self.progress.heading("Stopping");
        for role in STOP_ORDER {
            let started = Instant::now();
            let count = self.running.len();
            self.pause(role);
            if self.running.len() < count {
                self.progress.done(role, started.elapsed());
            }
        }
        let state = self.folder.state();
        if let Err(error) = fs::remove_file(&state) {
            report(format_args!("cannot remove {}: {error}", state.display()));
        }
    }
}
