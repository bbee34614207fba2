//! The projection. An event goes through these modules from top to bottom:
//!
//! - [`feed`]: the next events, from JetStream while it works and from the event store whenever it does not
//! - [`tally`]: what the events change, in the totals and in the [`history`]
//! - [`read_model`]: totals, history and checkpoint, changed together or not at all
//! - [`projection`]: the loop that joins these three
//!
//! Beside it:
//!
//! - [`rebuild`]: the same from position 1, beside the live read model, in long stretches ([`stretch`]); an interrupted one is
//!   gone on with ([`resume`]), and both read models are compared at the end ([`comparison`])
//! - [`reconciliation`]: the live totals compared with the log, all the time
//! - [`transparency`]: the Merkle tree over the log, and its signed checkpoints

use std::sync::Arc;

use axum::Router;
use clap::Args;
use event_log::database;
use prometheus_client::registry::Registry;
use runtime::{
    access::Access,
    nats,
    run::{Service, ServiceConfig},
    run_loop::run_loop,
    tasks::Tasks,
};
use sqlx::PgPool;
use tracing::warn;

pub mod comparison;
pub mod feed;
pub mod history;
pub mod projection;
pub mod read_model;
pub mod rebuild;
pub mod reconciliation;
pub mod resume;
pub mod stretch;
pub mod tally;
pub mod transparency;

/// The projection, the transparency log, the reconciliation and a rebuild have pools of their own, so that none waits for another.
/// Each uses one connection to a database at a time; a second one replaces one that is broken.
const POOL_CONNECTIONS: u32 = 2;

/// Where the events are and where the read model is.
#[derive(Args, Clone, Debug)]
pub struct Databases {
    /// Address of the event store, with the role `projector`.
    #[arg(long, env, hide_env_values = true)]
    pub event_store_url: String,
    /// Address of the read model, with the role `projector`.
    #[arg(long, env, hide_env_values = true)]
    pub read_model_url: String,
}

impl Databases {
    /// The event store's and the read model's, which connect when they are first used.
    fn pools(&self, name: &str) -> anyhow::Result<(PgPool, PgPool)> {
        let event_store = database::pool("EVENT_STORE_URL", &self.event_store_url, name, POOL_CONNECTIONS)?;
        let read_model = database::pool("READ_MODEL_URL", &self.read_model_url, name, POOL_CONNECTIONS)?;
        Ok((event_store, read_model))
    }
}

/// Settings of the projector.
#[derive(Args, Clone, Debug)]
pub struct Config {
    #[command(flatten)]
    pub service: ServiceConfig,
    #[command(flatten)]
    pub databases: Databases,
    /// Address of NATS.
    #[arg(long, env, hide_env_values = true)]
    pub nats_url: String,
    #[command(flatten)]
    pub streams: nats::Settings,
    #[command(flatten)]
    pub checkpoints: transparency::key::Settings,
}

/// Settings of the rebuild.
#[derive(Args, Clone, Debug)]
pub struct RebuildConfig {
    #[command(flatten)]
    pub databases: Databases,
    #[command(flatten)]
    pub options: rebuild::Options,
}

/// Settings of the migration.
#[derive(Args, Clone, Debug)]
pub struct MigrateConfig {
    /// Address of the read model, with a role that may create databases and roles.
    #[arg(long, env, hide_env_values = true)]
    pub read_model_admin_url: String,
    /// Password to give to the role `projector`.
    #[arg(long, env, hide_env_values = true)]
    pub projector_db_password: String,
    /// Password to give to the role `query_api`.
    #[arg(long, env, hide_env_values = true)]
    pub query_api_db_password: String,
    /// Password to give to the role `auditor`.
    #[arg(long, env, hide_env_values = true)]
    pub auditor_db_password: String,
}

/// Puts the service together. It connects by itself as soon as there is something to connect to.
pub fn service(config: &Config) -> anyhow::Result<Service> {
    let mut registry = Registry::with_prefix("sales");
    let mut tasks = Tasks::default();
    let access = Access::new(&config.service.access, config.service.listen_address, &mut tasks)?;
    let metrics = projection::Metrics::register(&mut registry);
    let (state, watch) = projection::State::starting();
    let (event_store, read_model) = config.databases.pools("projector")?;
    let (nats_url, stop) = (config.nats_url.clone(), tasks.stop_token());
    tasks.spawn("projection", async move {
        let nats = nats::connect(&nats_url, "projector").await?;
        let feed = feed::Feed::new(event_store, nats);
        run_loop(&mut projection::Projection::new(read_model, feed, metrics, state), &stop).await;
        Ok(())
    });
    let (mut reconciliation, stop) = (reconciliation(config, &mut registry)?, tasks.stop_token());
    tasks.spawn("reconciliation", async move {
        run_loop(&mut reconciliation, &stop).await;
        Ok(())
    });
    if let Some((key, file)) = config.checkpoints.load()? {
        let (event_store, read_model) = config.databases.pools("projector transparency log")?;
        let metrics = transparency::Metrics::register(&mut registry);
        let (nats_url, streams, stop) = (config.nats_url.clone(), config.streams, tasks.stop_token());
        tasks.spawn("transparency log", async move {
            let nats = nats::connect(&nats_url, "projector transparency log").await?;
            let published = transparency::Published::open(&file, key.verifying_key().clone(), nats, streams)?;
            let log = transparency::TransparencyLog::new(event_store, read_model, key, published, metrics);
            log.run(stop).await;
            Ok(())
        });
    } else {
        warn!("CHECKPOINT_KEY and CHECKPOINT_LOG are not set: no checkpoints of the log are signed");
    }
    Ok(Service { api: Router::new(), access, readiness: Arc::new(move || watch.borrow().ready()), registry, tasks })
}

fn reconciliation(config: &Config, registry: &mut Registry) -> anyhow::Result<reconciliation::Reconciliation> {
    const NAME: &str = "projector reconciliation";
    let event_store = database::options("EVENT_STORE_URL", &config.databases.event_store_url, NAME)?;
    let read_model = database::pool("READ_MODEL_URL", &config.databases.read_model_url, NAME, POOL_CONNECTIONS)?;
    let metrics = reconciliation::Metrics::register(registry);
    Ok(reconciliation::Reconciliation::new(event_store, read_model, metrics))
}

/// Brings the read model's database up to date.
pub async fn migrate(config: &MigrateConfig) -> anyhow::Result<()> {
    let files = event_log::migration_files!("../../migrations/read_model":
        "0001_roles", "0002_projection", "0003_license_total", "0004_transparency_log", "0005_history",
        "0006_totals_snapshot", "0007_latest_purchase");
    let passwords = [
        ("projector", config.projector_db_password.as_str()),
        ("query_api", config.query_api_db_password.as_str()),
        ("auditor", config.auditor_db_password.as_str()),
    ];
    database::migrate(&config.read_model_admin_url, &files, &passwords).await
}

/// Builds the read model anew and switches to it.
pub async fn rebuild(config: &RebuildConfig) -> anyhow::Result<()> {
    let (event_store, read_model) = config.databases.pools("projector rebuild")?;
    rebuild::rebuild(&event_store, &read_model, config.options).await
}
