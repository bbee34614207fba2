//! The newest totals of the read model, in memory, ready to be sent.
//!
//! One task per process listens for the projector's notification and reads the totals once per change, however many
//! clients ask. It subscribes first and reads then, so that no change falls between; a poll rescues what was missed.

use std::{collections::BTreeMap, sync::atomic::AtomicU64, time::Duration};

use axum::http::HeaderValue;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use prometheus_client::{
    metrics::gauge::Gauge,
    registry::{Registry, Unit},
};
use serde::{Deserialize, Serialize};
use shared::{
    backoff::Backoff,
    catalogue::{self, License},
    event_log::Position,
    money::Money,
};
use sqlx::{
    PgPool, Row,
    postgres::{PgConnectOptions, PgListener, PgPoolOptions, PgRow},
};
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use utoipa::ToSchema;

/// How often the read model is read without a notification.
const RESCUE_INTERVAL: Duration = Duration::from_secs(1);
/// One connection listens, one reads.
const CONNECTIONS: u32 = 2;
/// A read model that takes longer counts as away.
const READ_TIMEOUT: Duration = Duration::from_secs(2);

/// Number of sales and revenue since the last reset.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
pub struct CurrentMoney {
    pub sales_count: i64,
    pub revenue: Money,
    pub by_license: BTreeMap<License, LicenseTotal>,
    /// Log position that these totals reflect: every event up to it is counted.
    pub position: Position,
    /// Time of the event at that position.
    pub as_of: DateTime<Utc>,
}

/// Number of sales and revenue of one licence since the last reset.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
pub struct LicenseTotal {
    pub sales_count: i64,
    pub revenue: Money,
}

/// Totals ready to be sent.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub position: Position,
    pub body: Bytes,
    pub etag: HeaderValue,
    complete_at: Instant,
}

impl Snapshot {
    /// How long ago these totals were last known to be complete.
    pub fn age(&self) -> Duration {
        self.complete_at.elapsed()
    }
}

/// The newest totals; `None` until they have been read once.
pub type Watch = watch::Receiver<Option<Snapshot>>;

/// The task that keeps a [`Watch`] up to date.
pub struct Follower {
    options: PgConnectOptions,
    newest: watch::Sender<Option<Snapshot>>,
    position: Gauge,
    age: Gauge<f64, AtomicU64>,
}

pub fn follow(options: PgConnectOptions, registry: &mut Registry) -> (Watch, Follower) {
    let (newest, watch) = watch::channel(None);
    let follower = Follower { options, newest, position: Gauge::default(), age: Gauge::default() };
    registry.register("totals_position", "Log position that the answers reflect", follower.position.clone());
    let help = "How long ago the totals were last known to be complete";
    registry.register_with_unit("totals_age", help, Unit::Seconds, follower.age.clone());
    (watch, follower)
}

impl Follower {
    /// Follows the read model until told to stop. While it is away the last totals stay, and grow old.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        let mut backoff = Backoff::default();
        loop {
            let ended = tokio::select! {
                ended = self.listen(&mut backoff) => ended,
                () = stop.cancelled() => return Ok(()),
            };
            warn!(error = %ended.unwrap_err(), "The read model does not answer; serving the last known totals");
            self.observe_age();
            backoff.wait().await;
        }
    }

    /// Subscribe, then read, then read again whenever told to. Ends only with an error.
    async fn listen(&self, backoff: &mut Backoff) -> sqlx::Result<std::convert::Infallible> {
        let pool = PgPoolOptions::new()
            .max_connections(CONNECTIONS)
            .acquire_timeout(READ_TIMEOUT)
            .connect_with(self.options.clone())
            .await?;
        let mut listener = PgListener::connect_with(&pool).await?;
        timeout(READ_TIMEOUT, listener.listen("totals_changed")).await.map_err(|_| sqlx::Error::PoolTimedOut)??;
        info!("Following the read model");
        loop {
            let snapshot = timeout(READ_TIMEOUT, read(&pool)).await.map_err(|_| sqlx::Error::PoolTimedOut)??;
            backoff.reset();
            self.position.set(snapshot.position.get());
            self.newest.send_replace(Some(snapshot));
            self.observe_age();
            // One read answers all notifications that came before it.
            while listener.next_buffered().is_some() {}
            match timeout(RESCUE_INTERVAL, listener.try_recv()).await {
                Ok(Ok(Some(_))) | Err(_) => (),
                Ok(Ok(None)) => return Err(sqlx::Error::Io(std::io::ErrorKind::ConnectionReset.into())),
                Ok(Err(error)) => return Err(error),
            }
        }
    }

    fn observe_age(&self) {
        if let Some(newest) = &*self.newest.borrow() {
            self.age.set(newest.age().as_secs_f64());
        }
    }
}

async fn read(pool: &PgPool) -> sqlx::Result<Snapshot> {
    let rows = sqlx::query(include_str!("totals.sql")).fetch_all(pool).await?;
    let first = rows.first().ok_or(sqlx::Error::RowNotFound)?;
    let age = Duration::try_from_secs_f64(first.try_get("age_seconds")?).unwrap_or_default();
    let current = current_money(&rows)?;
    let generation: i64 = first.try_get("generation")?;
    let etag = format!("\"{generation}-{}\"", current.position);
    Ok(Snapshot {
        position: current.position,
        body: serde_json::to_vec(&current).map_err(decode_error)?.into(),
        etag: HeaderValue::try_from(etag).map_err(decode_error)?,
        complete_at: Instant::now().checked_sub(age).unwrap_or_else(Instant::now),
    })
}

fn current_money(rows: &[PgRow]) -> sqlx::Result<CurrentMoney> {
    let mut by_license: BTreeMap<_, _> = License::ALL
        .map(|license| {
            let revenue = Money::zero(catalogue::price(license).currency());
            (license, LicenseTotal { sales_count: 0, revenue })
        })
        .into();
    for row in rows {
        let Some(license) = row.try_get::<Option<&str>, _>("license")? else { continue };
        let revenue = Money::from_parts(row.try_get("revenue_minor")?, row.try_get("currency")?);
        let (Some(license), Some(revenue)) = (License::by_name(license), revenue) else {
            return Err(sqlx::Error::Protocol(format!("the read model holds an unknown total: {license}")));
        };
        by_license.insert(license, LicenseTotal { sales_count: row.try_get("sales_count")?, revenue });
    }
    let mut sum = LicenseTotal { sales_count: 0, revenue: Money::eur(0) };
    for total in by_license.values() {
        sum.sales_count += total.sales_count;
        sum.revenue = sum.revenue.checked_add(total.revenue).map_err(decode_error)?;
    }
    let position: i64 = rows[0].try_get("position")?;
    Ok(CurrentMoney {
        sales_count: sum.sales_count,
        revenue: sum.revenue,
        by_license,
        position: position.try_into().map_err(decode_error)?,
        as_of: rows[0].try_get("as_of")?,
    })
}

fn decode_error(error: impl std::error::Error + Send + Sync + 'static) -> sqlx::Error {
    sqlx::Error::Decode(Box::new(error))
}
