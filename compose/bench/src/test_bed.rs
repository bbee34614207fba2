//! The measured stack and its baselines. All of them run the whole time, and one at a time is under load.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
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

#[derive(Debug)]
pub struct TestBed {
    /// Dropped before the stack, whose Postgres one of them uses.
    _baselines: Vec<Process>,
    pub stack: Stack,
    pub folder: DataFolder,
    pub settings: Settings,
    pub interrupt: Interrupt,
    pub command_api: SocketAddr,
    pub query_api: SocketAddr,
    /// The stack's subject comes first, its baselines follow.
    pub purchases: [Subject; 3],
    pub traefik_purchases: [Subject; 2],
    pub totals: [Subject; 2],
    pub traefik_totals: [Subject; 2],
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
        let address = |name| -> Result<_> { Ok(server(&stack, name)?.address) };
        let (command_api, query_api, traefik) = (address("command-api")?, address("query-api")?, address("traefik")?);
        let subject = |name, address, stores_in| Subject { name, address, stores_in };
        let password = Secrets::load_or_create(&folder.secrets())?.postgres;
        let postgres = address("postgres")?;
        let database_url = |database: &str| format!("postgres://{ADMIN}:{password}@{postgres}/{database}");
        let one_row_url = database_url(ONE_ROW);
        let mut baselines = Vec::new();
        for server in [
            baseline(&stack, &folder, "nothing", nothing, &one_row_url)?,
            baseline(&stack, &folder, "one-row", one_row, &one_row_url)?,
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
            command_api,
            query_api,
            purchases: [
                subject("purchases", command_api, Storage::EventLog),
                subject("stores nothing", nothing, Storage::Nothing),
                subject("one row each", one_row, Storage::OneRowTable),
            ],
            traefik_purchases: [
                subject("purchases through Traefik", traefik, Storage::EventLog),
                subject("Traefik, stores nothing", traefik_nothing, Storage::Nothing),
            ],
            totals: [subject("totals", query_api, Storage::Nothing), subject("constant", nothing, Storage::Nothing)],
            traefik_totals: [
                subject("totals through Traefik", traefik, Storage::Nothing),
                subject("Traefik, constant", traefik_nothing, Storage::Nothing),
            ],
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
        format!("http://{}/api/get_current_money", self.query_api)
    }

    pub fn purchase(&self, license: &str) -> RequestBuilder {
        let url = format!("http://{}/api/buy_mpi", self.command_api);
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

/// Started like command-api.
fn baseline(stack: &Stack, folder: &DataFolder, name: &str, address: SocketAddr, database_url: &str) -> Result<Server> {
    let model = server(stack, "command-api")?.clone();
    let environment = [
        ("DATABASE_URL", database_url.to_owned()),
        ("CONNECTIONS", ONE_ROW_CONNECTIONS.to_string()),
        ("LISTEN_ADDRESS", address.to_string()),
        ("LOG_FORMAT", "text".to_owned()),
    ];
    let program = Program {
        name: name.to_owned(),
        path: checkout::example("baselines")?,
        arguments: vec![name.into()],
        environment: environment.map(|(key, value)| (key.to_owned(), value)).into(),
        log: folder.log(name),
        ..model.program
    };
    Ok(Server { program, address, probe: Probe::Http { address, path: "/readyz".to_owned() }, ..model })
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
