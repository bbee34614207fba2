//! The measured stack and its baselines. All of them run the whole time, and one at a time is under load.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;
use reqwest::{Client, RequestBuilder};
use serde_json::json;
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use tokio::runtime::Runtime;
use tokio::time::sleep;
use uuid::Uuid;

use crate::runs::Compared;
use crate::settings::Settings;
use crate::usage::Usage;
use stack::checkout;
use stack::data_folder::DataFolder;
use stack::interrupt::Interrupt;
use stack::launch::Program;
use stack::options::Options;
use stack::ports;
use stack::postgres::ADMIN;
use stack::probe::Probe;
use stack::process::Process;
use stack::progress::Progress;
use stack::provision;
use stack::secrets::Secrets;
use stack::server::Server;
use stack::services::{EVENT_STORE, READ_MODEL};
use stack::stack::Stack;
use stack::traefik::Traefik;

/// Database of the baseline that stores one row per request.
const ONE_ROW: &str = "one_row";
/// Its pool size. On two cores, 16 to 32 connections were the fastest; 96 were a fifth slower.
pub const ONE_ROW_CONNECTIONS: u32 = 32;

/// Longer than the request limits of the services.
const REQUEST_LIMIT: Duration = Duration::from_secs(20);
const INTERRUPT_POLL_INTERVAL: Duration = Duration::from_millis(50);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storage {
    EventLog,
    OneRowTable,
    Nothing,
}

/// An address that can be put under load.
#[derive(Clone, Copy, Debug)]
pub struct Subject {
    pub name: &'static str,
    pub address: SocketAddr,
    pub stores_in: Storage,
}

#[derive(Clone, Copy, Debug)]
pub struct Subjects {
    pub purchases: Subject,
    pub stores_nothing: Subject,
    pub one_row: Subject,
    pub traefik_purchases: Subject,
    pub traefik_stores_nothing: Subject,
    pub totals: Subject,
    pub constant: Subject,
    pub traefik_totals: Subject,
    pub traefik_constant: Subject,
}

#[derive(Debug)]
pub struct TestBed {
    /// Dropped before the stack, whose Postgres one of them uses.
    _baselines: Vec<Process>,
    pub stack: Stack,
    pub folder: DataFolder,
    pub settings: Settings,
    pub interrupt: Interrupt,
    pub subjects: Subjects,
    pub event_store: PgPool,
    pub read_model: PgPool,
    pub one_row: PgPool,
    pub http: Client,
    /// Memory before the first load.
    pub idle_memory: Usage,
    /// Measured before the log was filled. The section `growth` compares with it.
    pub at_start: Vec<Compared>,
    runtime: Runtime,
}

impl TestBed {
    /// Starts everything in an empty folder. All programs have to be built already.
    pub fn start(folder: DataFolder, settings: Settings, interrupt: &Interrupt) -> Result<Self> {
        let stack = Stack::start(&Options::on_free_ports(folder.path())?, Progress::Shown, interrupt)?;
        let [nothing, traefik_nothing, one_row, dashboard] =
            [ports::free()?, ports::free()?, ports::free()?, ports::free()?];
        let subjects = subjects(&stack, nothing, traefik_nothing, one_row)?;
        let password = Secrets::load_or_create(&folder.secrets())?.postgres;
        let postgres = server(&stack, "postgres")?.address;
        let database_url = |database: &str| format!("postgres://{ADMIN}:{password}@{postgres}/{database}");
        let one_row_environment =
            [("DATABASE_URL", database_url(ONE_ROW)), ("CONNECTIONS", ONE_ROW_CONNECTIONS.to_string())];
        let mut baselines = Vec::new();
        for server in [
            baseline(&stack, &folder, "nothing", nothing, [])?,
            baseline(&stack, &folder, "one-row", one_row, one_row_environment)?,
            traefik_before(nothing, &folder, traefik_nothing, dashboard)?,
        ] {
            let name = format!("baseline {}", server.program.name);
            baselines.push(Progress::Shown.step(&name, || server.start_and_wait(interrupt))?);
        }
        let runtime = Runtime::new()?;
        let pool = |database| {
            let _in_runtime = runtime.enter();
            PgPoolOptions::new().max_connections(2).connect_lazy(&database_url(database))
        };
        Ok(Self {
            _baselines: baselines,
            event_store: pool(EVENT_STORE)?,
            read_model: pool(READ_MODEL)?,
            one_row: pool(ONE_ROW)?,
            http: Client::builder().timeout(REQUEST_LIMIT).build()?,
            stack,
            folder,
            settings,
            interrupt: interrupt.clone(),
            subjects,
            idle_memory: Usage::new(),
            at_start: Vec::new(),
            runtime,
        })
    }

    /// How a process of the stack was started.
    pub fn server(&self, name: &str) -> Result<&Server> {
        server(&self.stack, name)
    }

    pub fn totals_url(&self) -> String {
        format!("http://{}/api/get_current_money", self.subjects.totals.address)
    }

    pub fn purchase(&self, license: &str) -> RequestBuilder {
        let url = format!("http://{}/api/buy_mpi", self.subjects.purchases.address);
        let key = Uuid::new_v4().to_string();
        self.http.post(url).header("idempotency-key", key).json(&json!({ "license": license }))
    }

    /// Runs `work` until it ends, or until Ctrl-C.
    pub fn block_on<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        let interrupted = async {
            while !self.interrupt.is_raised() {
                sleep(INTERRUPT_POLL_INTERVAL).await;
            }
        };
        self.runtime.block_on(async {
            tokio::select! {
                result = work => result,
                () = interrupted => bail!("interrupted"),
            }
        })
    }
}

fn server<'a>(stack: &'a Stack, name: &str) -> Result<&'a Server> {
    stack.server(name).with_context(|| format!("the stack has no {name}"))
}

fn subjects(stack: &Stack, nothing: SocketAddr, traefik_nothing: SocketAddr, one_row: SocketAddr) -> Result<Subjects> {
    let [command_api, query_api, traefik] = ["command-api", "query-api", "traefik"].map(|name| server(stack, name));
    let (command_api, query_api, traefik) = (command_api?.address, query_api?.address, traefik?.address);
    let subject = |name, address, stores_in| Subject { name, address, stores_in };
    Ok(Subjects {
        purchases: subject("purchases", command_api, Storage::EventLog),
        stores_nothing: subject("stores nothing", nothing, Storage::Nothing),
        one_row: subject("one row each", one_row, Storage::OneRowTable),
        traefik_purchases: subject("purchases through Traefik", traefik, Storage::EventLog),
        traefik_stores_nothing: subject("Traefik, stores nothing", traefik_nothing, Storage::Nothing),
        totals: subject("totals", query_api, Storage::Nothing),
        constant: subject("constant", nothing, Storage::Nothing),
        traefik_totals: subject("totals through Traefik", traefik, Storage::Nothing),
        traefik_constant: subject("Traefik, constant", traefik_nothing, Storage::Nothing),
    })
}

/// With the settings of command-api, where they are not its own.
fn baseline<const N: usize>(
    stack: &Stack,
    folder: &DataFolder,
    name: &str,
    address: SocketAddr,
    environment: [(&str, String); N],
) -> Result<Server> {
    let model = server(stack, "command-api")?;
    let common = [("LISTEN_ADDRESS", address.to_string()), ("LOG_FORMAT", "text".to_owned())];
    let program = Program {
        name: name.to_owned(),
        path: checkout::example("baselines")?,
        arguments: vec![name.into()],
        environment: environment.into_iter().chain(common).map(|(key, value)| (key.to_owned(), value)).collect(),
        account: None,
        log: folder.log(name),
        stop_signal: Signal::SIGTERM,
        stop_within: model.program.stop_within,
    };
    let probe = Probe::Http { address, path: "/readyz".to_owned() };
    Ok(Server { program, address, probe, ready_within: model.ready_within })
}

/// Configured like the stack's Traefik.
fn traefik_before(nothing: SocketAddr, folder: &DataFolder, web: SocketAddr, dashboard: SocketAddr) -> Result<Server> {
    const NAME: &str = "traefik-before-nothing";
    let traefik = Traefik {
        binary: provision::tools(Progress::Silent)?.traefik,
        folder: folder.path().join(NAME),
        log: folder.log(NAME),
        web,
        dashboard,
        command_api: vec![nothing],
        query_api: vec![nothing],
        pages: vec![nothing],
        limit_per_address: None,
        tls: None,
    };
    let mut server = traefik.server()?;
    NAME.clone_into(&mut server.program.name);
    Ok(server)
}
