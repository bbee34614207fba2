//! The measured stack and its baselines. All of them run the whole time, and one at a time is under load.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use reqwest::{Client, Response};
use serde_json::{Value, json};
use sqlx::postgres::{PgArguments, PgPoolOptions};
use sqlx::query::QueryScalar;
use sqlx::{PgPool, Postgres, raw_sql};
use stack::data_folder::DataFolder;
use stack::interrupt::Interrupt;
use stack::launch::Program;
use stack::postgres::ADMIN;
use stack::probe::Probe;
use stack::process::Process;
use stack::progress::Progress;
use stack::secrets::Secrets;
use stack::server::Server;
use stack::services::{EVENT_STORE, READ_MODEL};
use stack::traefik::Traefik;
use stack::{Stack, checkout, ports, provision};
use tokio::runtime::Runtime;
use tokio::time::sleep;
use uuid::Uuid;

use crate::{Options, Runs, Usage};

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
    pub options: Options,
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
    /// Subjects and their baselines before the log was filled. The section `growth` compares with them.
    pub at_start: Vec<[Runs; 2]>,
    runtime: Runtime,
}

impl TestBed {
    /// Starts everything in an empty folder. All programs have to be built already.
    pub fn start(folder: DataFolder, options: &Options, interrupt: &Interrupt) -> Result<Self> {
        let stack = Stack::start(&stack::Options::on_free_ports(folder.path())?, Progress::Shown, interrupt)?;
        let address = |name| stack.server(name).map(|server| server.address);
        let (command_api, query_api, traefik) = (address("command-api")?, address("query-api")?, address("traefik")?);
        let (password, postgres) = (Secrets::load_or_create(&folder.secrets())?.postgres, address("postgres")?);
        let database_url = |database: &str| format!("postgres://{ADMIN}:{password}@{postgres}/{database}");
        let servers = [
            baseline(&stack, &folder, "nothing", &database_url(ONE_ROW))?,
            baseline(&stack, &folder, "one-row", &database_url(ONE_ROW))?,
        ];
        let [nothing, one_row] = [servers[0].address, servers[1].address];
        let traefik_nothing = traefik_before(nothing, &folder)?;
        let through_traefik = traefik_nothing.address;
        let start = |server: Server| {
            let name = format!("baseline {}", server.program.name);
            Progress::Shown.step(&name, || server.start_and_wait(interrupt))
        };
        let baselines = servers.into_iter().chain([traefik_nothing]).map(start).collect::<Result<_>>()?;
        let runtime = Runtime::new()?;
        let pool = |database| {
            let _in_runtime = runtime.enter();
            PgPoolOptions::new().max_connections(2).connect_lazy(&database_url(database))
        };
        let subject = |name, address, stores_in| Subject { name, address, stores_in };
        Ok(Self {
            purchases: [
                subject("purchases", command_api, Storage::EventLog),
                subject("stores nothing", nothing, Storage::Nothing),
                subject("one row each", one_row, Storage::OneRowTable),
            ],
            traefik_purchases: [
                subject("purchases through Traefik", traefik, Storage::EventLog),
                subject("Traefik, stores nothing", through_traefik, Storage::Nothing),
            ],
            totals: [subject("totals", query_api, Storage::Nothing), subject("constant", nothing, Storage::Nothing)],
            traefik_totals: [
                subject("totals through Traefik", traefik, Storage::Nothing),
                subject("Traefik, constant", through_traefik, Storage::Nothing),
            ],
            _baselines: baselines,
            event_store: pool(EVENT_STORE)?,
            read_model: pool(READ_MODEL)?,
            one_row: pool(ONE_ROW)?,
            http: Client::builder().timeout(REQUEST_LIMIT).build()?,
            stack,
            folder,
            options: options.clone(),
            interrupt: interrupt.clone(),
            command_api,
            query_api,
            idle_memory: Usage::new(),
            at_start: Vec::new(),
            runtime,
        })
    }

    pub fn totals_url(&self) -> String {
        format!("http://{}/api/get_current_money", self.query_api)
    }

    pub async fn get(&self, url: &str) -> Result<Response> {
        Ok(self.http.get(url).send().await?.error_for_status()?)
    }

    /// Returns the position of the purchase.
    pub async fn buy(&self, license: &str) -> Result<i64> {
        let url = format!("http://{}/api/buy_mpi", self.command_api);
        let key = Uuid::new_v4().to_string();
        let purchase = self.http.post(url).header("idempotency-key", key).json(&json!({ "license": license }));
        let receipt: Value = purchase.send().await?.error_for_status()?.json().await?;
        receipt["position"].as_i64().context("a receipt has a position")
    }

    pub fn scalar(&self, database: &PgPool, query: QueryScalar<'_, Postgres, i64, PgArguments>) -> Result<i64> {
        self.block_on(async { Ok(query.fetch_one(database).await?) })
    }

    pub fn execute(&self, statement: &'static str) -> Result<()> {
        self.block_on(async { Ok(raw_sql(statement).execute(&self.event_store).await.map(drop)?) })
    }

    pub fn pause(&self, time: Duration) -> Result<()> {
        self.block_on(async {
            sleep(time).await;
            Ok(())
        })
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

/// Started like command-api.
fn baseline(stack: &Stack, folder: &DataFolder, name: &str, database_url: &str) -> Result<Server> {
    let (model, address) = (stack.server("command-api")?.clone(), ports::free()?);
    let environment = [
        ("DATABASE_URL", database_url.to_owned()),
        ("CONNECTIONS", ONE_ROW_CONNECTIONS.to_string()),
        ("LISTEN_ADDRESS", address.to_string()),
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
fn traefik_before(nothing: SocketAddr, folder: &DataFolder) -> Result<Server> {
    const NAME: &str = "traefik-before-nothing";
    let traefik = Traefik {
        binary: provision::tools(Progress::Silent)?.traefik,
        folder: folder.path().join(NAME),
        log: folder.log(NAME),
        web: ports::free()?,
        dashboard: ports::free()?,
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
