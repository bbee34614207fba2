//! The read side: totals out of memory, and the event log for auditors.
//!
//! - [`totals`]: the newest totals of the read model, kept in memory and ready to be sent
//! - [`api`]: the HTTP endpoints, one file each

use std::sync::Arc;

use clap::Args;
use prometheus_client::registry::Registry;
use shared::{
    database,
    service::{Service, ServiceConfig, Tasks},
};

pub mod api;
pub mod totals;

/// Pages of the event log that are read at the same time; further readers wait or are told that the service is busy.
const EVENT_STORE_CONNECTIONS: u32 = 4;

/// Settings of the query API.
#[derive(Args, Clone, Debug)]
pub struct Config {
    #[command(flatten)]
    pub service: ServiceConfig,
    /// Address of the event store, with the role `query_api`.
    #[arg(long, env, hide_env_values = true)]
    pub event_store_url: String,
    /// Address of the read model, with the role `query_api`.
    #[arg(long, env, hide_env_values = true)]
    pub read_model_url: String,
}

/// Puts the service together. It connects by itself as soon as there is something to connect to.
pub fn service(config: &Config) -> anyhow::Result<Service> {
    let mut registry = Registry::with_prefix("sales");
    let mut tasks = Tasks::default();
    let event_store = database::pool("EVENT_STORE_URL", &config.event_store_url, "query-api", EVENT_STORE_CONNECTIONS)?;
    let (watch, follower) =
        totals::follow(database::options("READ_MODEL_URL", &config.read_model_url, "query-api")?, &mut registry);
    tasks.spawn("totals", follower.run(tasks.stop_token()));
    let known = watch.clone();
    Ok(Service {
        api: api::router(api::Sources::new(event_store, watch), &mut registry),
        // Nothing else is needed to answer: totals that were read once are served, with their age, whatever breaks.
        readiness: Arc::new(move || {
            known.borrow().as_ref().map(|_| ()).ok_or_else(|| "the totals have not been read yet".to_owned())
        }),
        registry,
        tasks,
    })
}
