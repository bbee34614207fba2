//! The system that is broken, wherever it runs: its entrances, its databases and its stream.

use std::collections::BTreeMap;
use std::slice;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use async_nats::ConnectOptions;
use async_nats::jetstream::{self, stream::Stream};
use reqwest::Client;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use stack::services::{EVENT_STORE, READ_MODEL};
use stack::{checkout, tool::Tool};
use tokio::runtime::Runtime;
use tokio::task::{block_in_place, spawn_blocking};
use tokio::time::timeout;

use crate::torture::addresses::{Addresses, Checkpoints, Stores};
use crate::torture::deployed::Deployed;
use crate::torture::native::Native;
use crate::torture::on::On;

const NATS_TIMEOUT: Duration = Duration::from_secs(5);
pub const STREAM: &str = "SALES_EVENTS";

pub struct System<'a> {
    pub on: On,
    pub platform: Platform<'a>,
    pub entrances: Entrances,
    /// The URLs of all replicas of each service.
    pub replicas: BTreeMap<&'static str, Vec<String>>,
    /// As superuser.
    pub event_store: PgPool,
    pub read_model: PgPool,
    stores: Stores,
}

pub enum Platform<'a> {
    Native(Native),
    Deployed(Box<Deployed<'a>>),
}

/// URLs under which clients reach the services.
#[derive(Clone, Debug)]
pub struct Entrances {
    pub traefik: String,
    pub command_apis: Vec<String>,
    pub query_apis: Vec<String>,
    /// An access token with all roles, where tokens are required.
    token: Option<String>,
}

impl Entrances {
    pub fn writable(&self) -> Vec<String> {
        [slice::from_ref(&self.traefik), &self.command_apis[..]].concat()
    }

    pub fn readable(&self) -> Vec<String> {
        [slice::from_ref(&self.traefik), &self.query_apis[..]].concat()
    }

    /// A client for all of them. In a deployment, the certificate of Traefik is self-signed.
    pub fn client(&self, timeout: Duration) -> Result<Client> {
        let mut client = Client::builder().timeout(timeout);
        if let Some(token) = &self.token {
            let token = HeaderValue::try_from(format!("Bearer {token}"))?;
            let headers = HeaderMap::from_iter([(AUTHORIZATION, token)]);
            client = client.default_headers(headers).danger_accept_invalid_certs(true);
        }
        Ok(client.build()?)
    }
}

impl<'a> System<'a> {
    pub fn new(on: On, platform: Platform<'a>, addresses: Addresses, runtime: &Runtime) -> Result<Self> {
        let Addresses { traefik, token, replicas, stores } = addresses;
        let pool = |database| {
            let _in_runtime = runtime.enter();
            PgPoolOptions::new().max_connections(3).connect_lazy(&stores.database_url(database))
        };
        let (event_store, read_model) = (pool(EVENT_STORE)?, pool(READ_MODEL)?);
        let (command_apis, query_apis) = (replicas["command-api"].clone(), replicas["query-api"].clone());
        let entrances = Entrances { traefik, command_apis, query_apis, token };
        Ok(Self { on, platform, entrances, replicas, event_store, read_model, stores })
    }

    pub fn native(&self) -> Result<&Native> {
        match &self.platform {
            Platform::Native(native) => Ok(native),
            Platform::Deployed(_) => bail!("the system is not native"),
        }
    }

    /// The processes or containers that are not ready.
    pub async fn unready(&self) -> Result<Vec<String>> {
        match &self.platform {
            Platform::Native(native) => native.unready().await,
            Platform::Deployed(deployed) => block_in_place(|| deployed.unready()),
        }
    }

    /// As superuser, for a connection of its own.
    pub fn database_url(&self, database: &str) -> String {
        self.stores.database_url(database)
    }

    pub async fn jetstream(&self) -> Result<jetstream::Context> {
        let password = self.stores.nats_password.clone();
        // No address that a cluster reports can be reached from here.
        let options =
            ConnectOptions::with_user_and_password("command-api".to_owned(), password).ignore_discovered_servers();
        let connected = timeout(NATS_TIMEOUT, options.connect(self.stores.nats.to_string())).await;
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
        let url = |database| self.stores.url("auditor", &self.stores.auditor_password, database);
        let Checkpoints { public_key, logs } = match &self.platform {
            Platform::Native(native) => native.checkpoints(),
            Platform::Deployed(deployed) => block_in_place(|| deployed.checkpoints())?,
        };
        let tool = Tool::new(checkout::binary("auditor")?)
            .arg("verify")
            .env("EVENT_STORE_URL", url(EVENT_STORE))
            .env("READ_MODEL_URL", url(READ_MODEL))
            .env("CHECKPOINT_PUBLIC_KEY", public_key);
        let tool = logs.iter().fold(tool, |tool, log| tool.arg("--checkpoints").arg(log));
        let audited = spawn_blocking(move || tool.output()).await?;
        Ok(audited.err().map(|error| format!("{error:#}")))
    }
}
