//! The read side: totals out of memory, and the event log for auditors.
//!
//! - [`router`]: which endpoint answers which path; [`sources`]: what they answer from
//! - [`totals`]: number of sales and revenue, now (from memory, also as a stream) and as of earlier positions
//! - [`history`]: sales over time, in minutes, hours and days of a time zone
//! - [`latest`]: the newest purchases
//! - [`events`]: the event log page by page, as an export, event by event; proofs and signed checkpoints
//! - [`purchases`]: receipts and licence keys
//! - [`session`]: sessions of the pages, and the sign-in at an OpenID Connect issuer

use std::sync::Arc;

use anyhow::Context;
use clap::Args;
use event_log::database;
use prometheus_client::registry::Registry;
use runtime::{
    access::Access,
    run::{Service, ServiceConfig},
    tasks::Tasks,
};
use tracing::warn;

mod events;
mod headers;
mod history;
mod latest;
mod problems;
pub mod purchases;
mod router;
mod session;
mod sources;
mod time;
mod totals;

use purchases::signer::LicenseSigner;
use session::oidc::{self, SignIn};
use sources::Sources;
use totals::{follow, places::Places};

/// Pages, and stretches of exports, that are read from the event log at the same time; further readers wait in line, or are
/// told that the service is busy.
const EVENT_STORE_CONNECTIONS: u32 = 4;

/// Proofs and histories that are read at the same time.
const READ_MODEL_CONNECTIONS: u32 = 4;

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
    /// Private key that signs licence keys, as `query-api key` makes it. Behind it there may be those that signed before it, each after a
    /// line such as `until 2026-12-01T00:00:00Z`: what was bought until then keeps that key. Without a key, none are handed out.
    #[arg(long, env, hide_env_values = true)]
    pub license_key: Option<String>,
    #[command(flatten)]
    pub sign_in: oidc::Settings,
}

/// Puts the service together. It connects by itself as soon as there is something to connect to.
pub fn service(config: &Config) -> anyhow::Result<Service> {
    let mut registry = Registry::with_prefix("sales");
    let mut tasks = Tasks::default();
    let access = Access::new(&config.service.access, config.service.listen_address, &mut tasks)?;
    let sign_in = SignIn::new(access.clone(), config.service.access.oidc_client_id.as_deref(), &config.sign_in)?;
    let event_store = database::pool("EVENT_STORE_URL", &config.event_store_url, "query-api", EVENT_STORE_CONNECTIONS)?;
    let read_model =
        database::pool("READ_MODEL_URL", &config.read_model_url, "query-api reads", READ_MODEL_CONNECTIONS)?;
    let (watch, follower) =
        follow::follow(database::options("READ_MODEL_URL", &config.read_model_url, "query-api")?, &mut registry);
    tasks.spawn("totals", follower.run(tasks.stop_token()));
    let known = watch.clone();
    let streams = Places::new(tasks.drain_token(), &mut registry);
    let signer = config.license_key.as_deref().map(LicenseSigner::parse).transpose().context("LICENSE_KEY")?;
    if signer.is_none() {
        warn!(event.name = "license_key.missing", "LICENSE_KEY is not set: no licence keys are issued");
    }
    let sources = Sources::new(event_store, read_model, watch, streams, signer);
    Ok(Service {
        api: router::router(sources, sign_in, &mut registry),
        access,
        // Nothing else is needed to answer: totals that were read once are served, with their age, whatever breaks.
        readiness: Arc::new(move || {
            known.borrow().as_ref().map(|_| ()).ok_or_else(|| "the totals have not been read yet".to_owned())
        }),
        registry,
        tasks,
    })
}
