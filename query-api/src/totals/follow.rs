//! The newest totals of the read model, in memory, ready to be sent.
//!
//! One task per process listens for the projector's notification and reads the totals once per change, however many
//! clients ask. It subscribes first and reads then, so that no change falls between; a poll rescues what was missed.

use std::{sync::atomic::AtomicU64, time::Duration};

use axum::http::HeaderValue;
use contract::totals::Totals;
use event_log::{
    read_model::set_from_row,
    row::{self, decode_error},
};
use futures::FutureExt;
use prometheus_client::{
    metrics::gauge::Gauge,
    registry::{Registry, Unit},
};
use runtime::backoff::Backoff;
use sqlx::{
    PgPool, Row,
    postgres::{PgConnectOptions, PgListener, PgPoolOptions, PgRow},
};
use tokio::{sync::watch, time::timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{
    current_money::CurrentMoney,
    snapshot::{Snapshot, Watch},
};

/// How often the read model is read without a notification.
const FALLBACK_POLL_INTERVAL: Duration = Duration::from_secs(1);
/// One connection listens, one reads.
const CONNECTIONS: u32 = 2;
/// A read model that takes longer counts as away.
const READ_TIMEOUT: Duration = Duration::from_secs(2);

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
            while let Some(Ok(Some(_))) = listener.try_recv().now_or_never() {}
            match timeout(FALLBACK_POLL_INTERVAL, listener.try_recv()).await {
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
    let body = serde_json::to_vec(&current).map_err(decode_error)?;
    Ok(Snapshot::new(current.position, body.into(), HeaderValue::try_from(etag).map_err(decode_error)?, age))
}

fn current_money(rows: &[PgRow]) -> sqlx::Result<CurrentMoney> {
    let mut totals = Totals::default();
    for row in rows {
        set_from_row(&mut totals, row)?;
    }
    CurrentMoney::new(&totals, row::position(&rows[0], "position")?, rows[0].try_get("as_of")?).map_err(decode_error)
}
