//! The write side. A purchase passes through these modules from top to bottom:
//!
//! - [`api`]: the HTTP endpoints, one file each
//! - [`idempotency`]: the identity of a command, from its `Idempotency-Key`
//! - [`decide`]: command in, event out
//! - [`writer`]: group commit: all pending commands in one statement
//! - [`store`]: the SQL of that statement
//! - [`handoff`]: recently committed events, for the relay
//! - [`relay`]: publishes committed events on JetStream, in position order
//!
//! [`token`] creates access tokens; [`void`] decides that a broken event does not count.

use std::sync::Arc;

use clap::Args;
use event_log::{database, migration};
use prometheus_client::registry::Registry;
use runtime::{
    access::Access,
    nats, pooler,
    run::{Service, ServiceConfig},
    tasks::Tasks,
};

pub mod api;
pub mod decide;
pub mod handoff;
pub mod idempotency;
pub mod relay;
pub mod store;
pub mod token;
pub mod void;
pub mod writer;

use handoff::HandoffBuffer;

/// Connections of the relay. The writer has its own.
const POOL_CONNECTIONS: u32 = 2;

/// Settings of the command API.
#[derive(Args, Clone, Debug)]
pub struct Config {
    #[command(flatten)]
    pub service: ServiceConfig,
    /// Address of the event store, for the role `command_api`.
    #[arg(long, env, hide_env_values = true)]
    pub event_store_url: String,
    /// Address of NATS.
    #[arg(long, env, hide_env_values = true)]
    pub nats_url: String,
    #[command(flatten)]
    pub streams: nats::Settings,
}

/// Settings of the migration.
#[derive(Args, Clone, Debug)]
pub struct MigrateConfig {
    /// Address of the event store, for a role that may create databases and roles.
    #[arg(long, env, hide_env_values = true)]
    pub event_store_admin_url: String,
    /// Password of the role `command_api`.
    #[arg(long, env, hide_env_values = true)]
    pub command_api_db_password: String,
    /// Password of the role `projector`.
    #[arg(long, env, hide_env_values = true)]
    pub projector_db_password: String,
    /// Password of the role `query_api`.
    #[arg(long, env, hide_env_values = true)]
    pub query_api_db_password: String,
    /// Password of the role `auditor`.
    #[arg(long, env, hide_env_values = true)]
    pub auditor_db_password: String,
    /// Password of the role `monitor`, for a metrics exporter. Without it, the role cannot log in.
    #[arg(long, env, hide_env_values = true)]
    pub monitor_db_password: Option<String>,
    /// Password of the role `barman`, for backups. Without it, the role cannot log in.
    #[arg(long, env, hide_env_values = true)]
    pub barman_db_password: Option<String>,
}

/// Assembles the service. It connects in the background, so it starts while its servers are unreachable.
pub fn service(config: &Config) -> anyhow::Result<Service> {
    let mut registry = Registry::with_prefix("sales");
    let mut tasks = Tasks::default();
    let access = Access::new(&config.service.access, config.service.listen_address, &mut tasks)?;
    let handoff = Arc::new(HandoffBuffer::default());

    let writer_metrics = writer::Metrics::register(&mut registry);
    let options = database::options("EVENT_STORE_URL", &config.event_store_url, "command-api")?;
    pooler::refuse(&mut tasks, "command-api", &[("EVENT_STORE_URL", &config.event_store_url)])?;
    let (log, writer) = writer::new(options, Arc::clone(&handoff), writer_metrics);
    tasks.spawn("writer", |stop| writer.run(stop));

    let relay_metrics = relay::metrics::Metrics::register(&mut registry);
    let pool = database::pool("EVENT_STORE_URL", &config.event_store_url, "command-api relay", POOL_CONNECTIONS)?;
    let (nats_url, streams) = (config.nats_url.clone(), config.streams);
    tasks.spawn("relay", |stop| relay::run(pool, nats_url, streams, handoff, relay_metrics, stop));

    let readiness_log = log.clone();
    Ok(Service {
        api: api::router(log, access.clone(), &mut registry),
        access,
        readiness: Arc::new(move || {
            if readiness_log.is_available() {
                Ok(())
            } else {
                Err("the event store is unreachable or refuses events".to_owned())
            }
        }),
        registry,
        tasks,
    })
}

/// Migrates the event store and sets the passwords of its roles.
pub async fn migrate(config: &MigrateConfig) -> anyhow::Result<()> {
    let files = event_log::migration_files!("../../migrations/event_store":
        "0001_roles", "0002_event", "0003_head", "0004_append_only", "0005_append_events", "0006_rare_events", "0007_operators",
        "0008_checked_events", "0009_sign_in_code");
    let mut passwords = vec![
        ("command_api", config.command_api_db_password.as_str()),
        ("projector", config.projector_db_password.as_str()),
        ("query_api", config.query_api_db_password.as_str()),
        ("auditor", config.auditor_db_password.as_str()),
    ];
    for (role, password) in [("monitor", &config.monitor_db_password), ("barman", &config.barman_db_password)] {
        passwords.extend(password.as_deref().map(|password| (role, password)));
    }
    migration::migrate(&config.event_store_admin_url, &files, &passwords).await
}
