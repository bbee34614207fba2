//! The write side. A purchase goes through these modules from top to bottom:
//!
//! - [`api`]: the HTTP endpoints, one file each
//! - [`idempotency`]: what makes a repeated command the same command
//! - [`decide`]: command in, event out
//! - [`writer`]: group commit: whatever waits goes into the log as one statement
//! - [`committed`]: what was committed a moment ago, handed to the relay
//! - [`relay`]: what is committed goes to JetStream, in position order
//!
//! and [`store`] holds the SQL of the log's only way in.

use std::sync::Arc;

use clap::Args;
use prometheus_client::registry::Registry;
use shared::{
    database,
    service::{Service, ServiceConfig, Tasks},
};

pub mod api;
pub mod committed;
pub mod decide;
pub mod idempotency;
pub mod relay;
pub mod store;
pub mod writer;

use committed::Committed;

/// The relay reads the log through these; the writer has a connection of its own.
const POOL_CONNECTIONS: u32 = 2;

/// Settings of the command API.
#[derive(Args, Clone, Debug)]
pub struct Config {
    #[command(flatten)]
    pub service: ServiceConfig,
    /// Address of the event store, with the role `command_api`.
    #[arg(long, env, hide_env_values = true)]
    pub event_store_url: String,
    /// Address of NATS.
    #[arg(long, env, hide_env_values = true)]
    pub nats_url: String,
}

/// Settings of the migration.
#[derive(Args, Clone, Debug)]
pub struct MigrateConfig {
    /// Address of the event store, with a role that may create databases and roles.
    #[arg(long, env, hide_env_values = true)]
    pub event_store_admin_url: String,
    /// Password to give to the role `command_api`.
    #[arg(long, env, hide_env_values = true)]
    pub command_api_db_password: String,
    /// Password to give to the role `projector`.
    #[arg(long, env, hide_env_values = true)]
    pub projector_db_password: String,
    /// Password to give to the role `query_api`.
    #[arg(long, env, hide_env_values = true)]
    pub query_api_db_password: String,
}

/// Puts the service together. It connects by itself as soon as there is something to connect to.
pub fn service(config: &Config) -> anyhow::Result<Service> {
    let mut registry = Registry::with_prefix("sales");
    let mut tasks = Tasks::default();
    let committed = Arc::new(Committed::default());

    let writer_metrics = writer::Metrics::register(&mut registry);
    let options = database::options("EVENT_STORE_URL", &config.event_store_url, "command-api")?;
    let (log, writer) = writer::event_log(options, Arc::clone(&committed), writer_metrics);
    tasks.spawn("writer", writer.run(tasks.stop_token()));

    let relay_metrics = relay::Metrics::register(&mut registry);
    let pool = database::pool("EVENT_STORE_URL", &config.event_store_url, "command-api relay", POOL_CONNECTIONS)?;
    let relay = relay::Relay::new(pool, config.nats_url.clone(), committed, relay_metrics);
    tasks.spawn("relay", relay.run(tasks.stop_token()));

    let readiness_log = log.clone();
    Ok(Service {
        api: api::router(log, &mut registry),
        readiness: Arc::new(move || {
            if readiness_log.is_available() { Ok(()) } else { Err("the event store cannot be reached".to_owned()) }
        }),
        registry,
        tasks,
    })
}

/// Brings the event store up to date.
pub async fn migrate(config: &MigrateConfig) -> anyhow::Result<()> {
    let files = shared::migration_files!("../../migrations/event_store":
        "0001_roles", "0002_event", "0003_head", "0004_append_only", "0005_append_events");
    let passwords = [
        ("command_api", config.command_api_db_password.as_str()),
        ("projector", config.projector_db_password.as_str()),
        ("query_api", config.query_api_db_password.as_str()),
    ];
    database::migrate(&config.event_store_admin_url, &files, &passwords).await
}
