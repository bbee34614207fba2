//! The projection. An event goes through these modules from top to bottom:
//!
//! - [`feed`]: the next events, from JetStream while it works and from the event store whenever it does not
//! - [`batch_delta`]: the changes that they make to the totals, the newest purchases and the [`history`]
//! - [`read_model`]: stores these changes and the position, together or not at all
//! - [`projection`]: the task that joins these three
//!
//! Alongside it:
//!
//! - [`rebuild`]: builds the next generation from position 1, in chunks ([`chunk`]), compares it with the live one and switches
//! - [`reconciliation`]: compares the live totals with the log, continuously
//! - [`transparency`]: the Merkle tree over the log, its signed checkpoints, and the watch that compares the log with both

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use axum::Router;
use clap::Args;
use event_log::{database, migration, transparency::signed_checkpoint::SigningKey};
use prometheus_client::registry::Registry;
use runtime::{
    access::Access,
    nats, pooler,
    run::{Service, ServiceConfig},
    run_loop::run_loop,
    tasks::Tasks,
};
use sqlx::PgPool;
use tokio::sync::watch;
use tracing::{info, warn};

pub mod batch_delta;
pub mod chunk;
pub mod feed;
pub mod history;
pub mod projection;
pub mod read_model;
pub mod rebuild;
pub mod reconciliation;
pub mod transparency;

/// Projection, transparency log, reconciliation and rebuild each have their own pools, so none waits for another. Each uses one
/// connection to a database at a time; a second one replaces a broken one.
const POOL_CONNECTIONS: u32 = 2;

/// The event store and the read model.
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
    /// With the names of their settings.
    fn urls(&self) -> [(&'static str, &str); 2] {
        [("EVENT_STORE_URL", &self.event_store_url), ("READ_MODEL_URL", &self.read_model_url)]
    }

    /// Pools for the event store and the read model, which connect on first use.
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
    #[command(flatten)]
    pub witnesses: transparency::witnesses::Settings,
}

/// Settings of the rebuild.
#[derive(Args, Clone, Debug)]
pub struct RebuildConfig {
    #[command(flatten)]
    pub databases: Databases,
    #[command(flatten)]
    pub options: rebuild::Options,
    /// Instead of the read model, rebuild the Merkle tree over the log: discard it, so that the running projector builds it again. The
    /// projector signs it only if the log agrees with the published checkpoints.
    #[arg(long, conflicts_with_all = ["dry_run", "from_start"])]
    pub tree: bool,
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

/// Assembles the service. It connects automatically as soon as its databases and NATS are reachable.
pub fn service(config: &Config) -> anyhow::Result<Service> {
    let mut registry = Registry::with_prefix("sales");
    let mut tasks = Tasks::default();
    let access = Access::new(&config.service.access, config.service.listen_address, &mut tasks)?;
    let metrics = projection::Metrics::register(&mut registry);
    let (state, known) = watch::channel(projection::State::Starting);
    let (event_store, read_model) = config.databases.pools("projector")?;
    pooler::refuse(&mut tasks, "projector", &config.databases.urls())?;
    let nats_url = config.nats_url.clone();
    tasks.spawn("projection", async move |stop| {
        let nats = nats::connect(&nats_url, "projector").await?;
        let feed = feed::Feed::new(event_store, nats);
        run_loop(&mut projection::Projection::new(read_model, feed, metrics, state), &stop).await;
        Ok(())
    });
    let mut reconciliation = reconciliation(config, &mut registry)?;
    tasks.spawn("reconciliation", async move |stop| {
        run_loop(&mut reconciliation, &stop).await;
        Ok(())
    });
    let mut is_begun = Arc::new(AtomicBool::new(true));
    if let Some((key, file)) = config.checkpoints.load()? {
        is_begun = Arc::default();
        let begun = Arc::clone(&is_begun);
        let (event_store, read_model) = config.databases.pools("projector transparency log")?;
        let metrics = transparency::Metrics::register(&mut registry);
        let (nats_url, streams) = (config.nats_url.clone(), config.streams);
        let mut watch = watch(config, &key, file.clone(), &mut registry)?;
        tasks.spawn("watch", async move |stop| {
            run_loop(&mut watch, &stop).await;
            Ok(())
        });
        tasks.spawn("transparency log", async move |stop| {
            let nats = nats::connect(&nats_url, "projector transparency log").await?;
            let published = transparency::Published::new(file, key.verifying_key().clone(), nats, streams);
            let log = transparency::TransparencyLog::new(event_store, read_model, key, published, metrics, begun);
            log.run(stop).await;
            Ok(())
        });
    } else {
        warn!("CHECKPOINT_KEY and CHECKPOINT_LOG are not set: the log is not signed");
    }
    let witness_metrics = transparency::witnesses::Metrics::register(&mut registry);
    if let Some(named) = config.witnesses.parse()? {
        let url = &config.databases.read_model_url;
        let read_model = database::pool("READ_MODEL_URL", url, "projector witnesses", POOL_CONNECTIONS)?;
        let mut submitter = transparency::witnesses::Submitter::new(read_model, named, witness_metrics)?;
        tasks.spawn("witnesses", async move |stop| {
            run_loop(&mut submitter, &stop).await;
            Ok(())
        });
    }
    let readiness = move || {
        known.borrow().ready()?;
        let begun = is_begun.load(Ordering::Relaxed);
        begun.then_some(()).ok_or_else(|| "the transparency log has not been read yet".to_owned())
    };
    Ok(Service { api: Router::new(), access, readiness: Arc::new(readiness), registry, tasks })
}

fn reconciliation(config: &Config, registry: &mut Registry) -> anyhow::Result<reconciliation::Reconciliation> {
    const NAME: &str = "projector reconciliation";
    let event_store = database::options("EVENT_STORE_URL", &config.databases.event_store_url, NAME)?;
    let read_model = database::pool("READ_MODEL_URL", &config.databases.read_model_url, NAME, POOL_CONNECTIONS)?;
    let metrics = reconciliation::Metrics::register(registry);
    Ok(reconciliation::Reconciliation::new(event_store, read_model, metrics))
}

fn watch(
    config: &Config,
    key: &SigningKey,
    file: PathBuf,
    registry: &mut Registry,
) -> anyhow::Result<transparency::Watch> {
    let (event_store, read_model) = config.databases.pools("projector watch")?;
    let metrics = transparency::watch::Metrics::register(registry);
    let share = config.checkpoints.watch_share;
    Ok(transparency::Watch::new(event_store, read_model, key.verifying_key().clone(), file, share, metrics))
}

/// Creates or updates the read model's database.
pub async fn migrate(config: &MigrateConfig) -> anyhow::Result<()> {
    let files = event_log::migration_files!("../../migrations/read_model":
        "0001_roles", "0002_projection", "0003_license_total", "0004_transparency_log", "0005_history",
        "0006_totals_snapshot", "0007_latest_purchase", "0008_last_event", "0009_discard_tree",
        "0010_rebuild_attempt", "0011_latest_purchases", "0012_watch", "0013_checkpoint_memory",
        "0014_cosigned_checkpoint", "0015_past_checkpoint");
    let passwords = [
        ("projector", config.projector_db_password.as_str()),
        ("query_api", config.query_api_db_password.as_str()),
        ("auditor", config.auditor_db_password.as_str()),
    ];
    migration::migrate(&config.read_model_admin_url, &files, &passwords).await
}

/// Rebuilds the read model from the log and switches to it, or discards the tree over the log.
pub async fn rebuild(config: &RebuildConfig) -> anyhow::Result<()> {
    let (event_store, read_model) = config.databases.pools("projector rebuild")?;
    if config.tree {
        transparency::discard(&read_model).await?;
        info!("The tree is discarded; the running projector builds it again from the log");
        return Ok(());
    }
    rebuild::rebuild(&event_store, &read_model, config.options).await
}
