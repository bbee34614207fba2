//! The projection. An event goes through these modules from top to bottom:
//!
//! - [`feed`]: the next events, from JetStream while it works and from the event store whenever it does not
//! - [`totals`]: what the events add up to
//! - [`read_model`]: totals and checkpoint, changed together or not at all
//! - [`projection`]: the loop that joins these three
//! - [`rebuild`]: the same from position 1, beside the live read model

use std::sync::Arc;

use axum::Router;
use clap::Args;
use prometheus_client::registry::Registry;
use shared::{
    database,
    service::{Service, ServiceConfig, Tasks},
};

pub mod feed;
pub mod projection;
pub mod read_model;
pub mod rebuild;
pub mod totals;

/// The loop uses one connection to each database at a time; a second one replaces one that is broken.
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
}

/// Settings of the rebuild.
#[derive(Args, Clone, Debug)]
pub struct RebuildConfig {
    #[command(flatten)]
    pub databases: Databases,
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
}

/// Puts the service together. It connects by itself as soon as there is something to connect to.
pub fn service(config: &Config) -> anyhow::Result<Service> {
    let mut registry = Registry::with_prefix("sales");
    let mut tasks = Tasks::default();
    let metrics = projection::Metrics::register(&mut registry);
    let (state, watch) = projection::State::starting();
    let event_store =
        database::pool("EVENT_STORE_URL", &config.databases.event_store_url, "projector", POOL_CONNECTIONS)?;
    let read_model = database::pool("READ_MODEL_URL", &config.databases.read_model_url, "projector", POOL_CONNECTIONS)?;
    let (nats_url, stop) = (config.nats_url.clone(), tasks.stop_token());
    tasks.spawn("projection", async move {
        let nats = shared::stream::connect(&nats_url, "projector").await?;
        let feed = feed::Feed::new(event_store, nats);
        projection::Projection::new(read_model, feed, metrics, state).run(stop).await;
        Ok(())
    });
    Ok(Service { api: Router::new(), readiness: Arc::new(move || watch.borrow().ready()), registry, tasks })
}

/// Brings the read model's database up to date.
pub async fn migrate(config: &MigrateConfig) -> anyhow::Result<()> {
    let files = shared::migration_files!("../../migrations/read_model":
        "0001_roles", "0002_projection", "0003_license_total");
    let passwords =
        [("projector", config.projector_db_password.as_str()), ("query_api", config.query_api_db_password.as_str())];
    database::migrate(&config.read_model_admin_url, &files, &passwords).await
}

/// Builds the read model anew and switches to it.
pub async fn rebuild(config: &RebuildConfig) -> anyhow::Result<()> {
    let event_store =
        database::pool("EVENT_STORE_URL", &config.databases.event_store_url, "projector rebuild", POOL_CONNECTIONS)?;
    let read_model =
        database::pool("READ_MODEL_URL", &config.databases.read_model_url, "projector rebuild", POOL_CONNECTIONS)?;
    rebuild::rebuild(&event_store, &read_model).await
}
