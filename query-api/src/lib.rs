//! The read side: totals, history and newest purchases from the read model; receipts, licence keys and the event log from the event store.
//!
//! - [`router`]: which endpoint answers which path; [`sources`]: what they answer from
//! - [`totals`]: number of sales and revenue, now (from memory, also as a stream) and as of earlier positions
//! - [`history`]: sales over time, in minutes, hours and days of a time zone
//! - [`latest`]: the newest purchases
//! - [`events`]: the event log page by page, as an export, event by event; proofs and signed checkpoints
//! - [`tiled_log`]: the same log in the layout of C2SP tlog-tiles, for clients that know this
//! - [`purchases`]: receipts and licence keys
//! - [`session`]: sessions of the pages, and the sign-in at an OpenID Connect issuer

use std::{path::PathBuf, sync::Arc};

use anyhow::Context;
use clap::Args;
use contract::time_zone::TimeZones;
use event_log::{database, transparency::signed_checkpoint::VerifyingKey};
use prometheus_client::{metrics::info::Info, registry::Registry};
use runtime::{
    access::Access,
    pooler,
    run::{Service, ServiceConfig},
    tasks::Tasks,
};
use tracing::{info, warn};

mod events;
mod headers;
mod history;
mod latest;
mod problems;
pub mod purchases;
mod router;
pub mod session;
mod sources;
mod tiled_log;
mod time;
mod totals;

use purchases::signer::LicenseSigner;
use session::oidc::{self, SignIn};
use sources::Sources;
use totals::{follow, places::Places};

/// Pages and chunks of exports that are read from the event log at the same time. Further requests wait for a connection, or are
/// answered 503.
const EVENT_STORE_CONNECTIONS: u32 = 4;

/// Proofs and histories that are read at the same time.
const READ_MODEL_CONNECTIONS: u32 = 4;

/// Settings of the query API.
#[derive(Args, Clone, Debug)]
pub struct Config {
    #[command(flatten)]
    pub service: ServiceConfig,
    /// URL of the event store database, for the role `query_api`.
    #[arg(long, env, hide_env_values = true)]
    pub event_store_url: String,
    /// URL of the read model database, for the role `query_api`.
    #[arg(long, env, hide_env_values = true)]
    pub read_model_url: String,
    /// Private key that signs licence keys, as created by `query-api key`. Former keys may follow, each after a line such as
    /// `until 2026-12-01T00:00:00Z`: earlier purchases keep that key. Without a key, the service issues no licence keys.
    #[arg(long, env, hide_env_values = true)]
    pub license_key: Option<String>,
    /// Folder with newer time zone data than the compiled-in data, such as /usr/share/zoneinfo.
    #[arg(long, env)]
    pub time_zone_folder: Option<PathBuf>,
    #[command(flatten)]
    pub log: tiled_log::Settings,
    #[command(flatten)]
    pub sign_in: oidc::Settings,
}

/// Builds the service. It connects to the databases as soon as they are reachable.
pub fn service(config: &Config) -> anyhow::Result<Service> {
    let mut registry = Registry::with_prefix("sales");
    let mut tasks = Tasks::default();
    let access = Access::new(&config.service.access, config.service.listen_address, &mut tasks)?;
    let event_store = database::pool("EVENT_STORE_URL", &config.event_store_url, "query-api", EVENT_STORE_CONNECTIONS)?;
    let read_model =
        database::pool("READ_MODEL_URL", &config.read_model_url, "query-api reads", READ_MODEL_CONNECTIONS)?;
    let client_id = config.service.access.oidc_client_id.as_deref();
    let sign_in = SignIn::new(access.clone(), event_store.clone(), client_id, &config.sign_in)?;
    let (watch, follower) =
        follow::follow(database::options("READ_MODEL_URL", &config.read_model_url, "query-api")?, &mut registry);
    tasks.spawn("totals", |stop| follower.run(stop));
    let databases = [("EVENT_STORE_URL", &*config.event_store_url), ("READ_MODEL_URL", &*config.read_model_url)];
    pooler::refuse(&mut tasks, "query-api", &databases)?;
    let known = watch.clone();
    let streams = Places::new(tasks.drain_token(), &mut registry);
    let signer = config.license_key.as_deref().map(LicenseSigner::parse).transpose().context("LICENSE_KEY")?;
    if signer.is_none() {
        warn!(event.name = "license_key.missing", "LICENSE_KEY is not set: no licence keys are issued");
    }
    // Not by the parser of the settings, which would print a private key that was given by mistake.
    config.log.log_public_key.as_deref().map(VerifyingKey::parse).transpose().context("LOG_PUBLIC_KEY")?;
    let time_zones = time_zones(config, &mut registry)?;
    let sources = Sources::new(event_store, read_model, watch, streams, signer, time_zones, config.log.clone());
    Ok(Service {
        api: router::router(sources, sign_in, &mut registry),
        access,
        // Totals that were read once are served with their age, whatever fails later.
        readiness: Arc::new(move || {
            known.borrow().as_ref().map(|_| ()).ok_or_else(|| "the read model has not been read yet".to_owned())
        }),
        registry,
        tasks,
    })
}

/// The time zone data, whose version operators can see.
fn time_zones(config: &Config, registry: &mut Registry) -> anyhow::Result<TimeZones> {
    let folder = config.time_zone_folder.as_deref();
    let time_zones =
        folder.map_or_else(|| Ok(TimeZones::bundled()), TimeZones::in_folder).context("TIME_ZONE_FOLDER")?;
    info!(event.name = "time_zones.read", version = time_zones.version(), "Time zone data");
    let version = Info::new([("version", time_zones.version().to_owned())]);
    registry.register("time_zones", "Version of the IANA time zone data", version);
    Ok(time_zones)
}
