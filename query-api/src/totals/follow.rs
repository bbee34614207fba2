//! Follows the read model: keeps the newest totals and purchases in memory, ready to be sent.
//!
//! One task per process listens for the projector's notifications and reads once per change, however many clients ask. It subscribes
//! before it reads, so that it misses no change. A poll covers lost notifications.

use std::{convert::Infallible, sync::atomic::AtomicU64, time::Duration};

use axum::http::HeaderValue;
use contract::totals::Totals;
use event_log::{
    read_model::{latest_purchases, set_from_row},
    row::{self, decode_error},
};
use futures::FutureExt;
use prometheus_client::{
    metrics::gauge::Gauge,
    registry::{Registry, Unit},
};
use runtime::{backoff::Backoff, run_loop::Reported};
use sqlx::{
    PgPool, Row,
    postgres::{PgConnectOptions, PgListener, PgPoolOptions},
};
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};
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
/// A read model that takes longer counts as unreachable.
const READ_TIMEOUT: Duration = Duration::from_secs(2);

/// The task that keeps a [`Watch`] up to date.
pub struct Follower {
    options: PgConnectOptions,
    newest: watch::Sender<Option<Snapshot>>,
    position: Gauge,
    age: Gauge<f64, AtomicU64>,
    started_at: Instant,
}

pub fn follow(options: PgConnectOptions, registry: &mut Registry) -> (Watch, Follower) {
    let (newest, watch) = watch::channel(None);
    let (position, age) = (Gauge::default(), Gauge::default());
    let follower = Follower { options, newest, position, age, started_at: Instant::now() };
    registry.register("totals_position", "Log position that the answers reflect", follower.position.clone());
    let help =
        "How long ago the totals were last known to be complete; time since the start before they are first read";
    registry.register_with_unit("totals_age", help, Unit::Seconds, follower.age.clone());
    (watch, follower)
}

impl Follower {
    /// Follows the read model until shutdown. While it is unreachable, the last totals are kept, and their age grows.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        let (mut backoff, mut reported) = (Backoff::default(), Reported::default());
        loop {
            let ended = tokio::select! {
                ended = self.listen(&mut backoff, &mut reported) => ended,
                () = stop.cancelled() => return Ok(()),
            };
            let Err(error) = ended;
            if reported.failed(&error) {
                warn!(event.name = "totals.waiting", %error, "Read model unreachable; serving the last totals");
            }
            self.observe_age();
            backoff.wait().await;
        }
    }

    /// Subscribes, then reads, then reads again after each notification. Returns only errors.
    async fn listen(&self, backoff: &mut Backoff, reported: &mut Reported) -> sqlx::Result<Infallible> {
        let pool = PgPoolOptions::new()
            .max_connections(CONNECTIONS)
            .acquire_timeout(READ_TIMEOUT)
            // A broken connection shows in the read itself, which is retried.
            .test_before_acquire(false)
            .connect_with(self.options.clone())
            .await?;
        let mut listener = PgListener::connect_with(&pool).await?;
        timeout(READ_TIMEOUT, listener.listen("totals_changed")).await.map_err(|_| sqlx::Error::PoolTimedOut)??;
        loop {
            let snapshot = timeout(READ_TIMEOUT, read(&pool)).await.map_err(|_| sqlx::Error::PoolTimedOut)??;
            backoff.reset();
            if reported.recovered() {
                info!(event.name = "totals.recovered", "Following the read model again");
            }
            self.position.set(snapshot.position.get());
            self.newest.send_replace(Some(snapshot));
            self.observe_age();
            // One read covers all notifications that came before it.
            while let Some(Ok(Some(_))) = listener.try_recv().now_or_never() {}
            match timeout(FALLBACK_POLL_INTERVAL, listener.try_recv()).await {
                Ok(Ok(Some(_))) | Err(_) => (),
                Ok(Ok(None)) => return Err(sqlx::Error::Io(std::io::ErrorKind::ConnectionReset.into())),
                Ok(Err(error)) => return Err(error),
            }
        }
    }

    fn observe_age(&self) {
        let age = self.newest.borrow().as_ref().map_or_else(|| self.started_at.elapsed(), Snapshot::age);
        self.age.set(age.as_secs_f64());
    }
}

async fn read(pool: &PgPool) -> sqlx::Result<Snapshot> {
    let rows = sqlx::query(include_str!("totals.sql")).fetch_all(pool).await?;
    let first = rows.first().ok_or(sqlx::Error::RowNotFound)?;
    let age = Duration::try_from_secs_f64(first.try_get("age_seconds")?).unwrap_or_default();
    let mut totals = Totals::default();
    for row in &rows {
        set_from_row(&mut totals, row)?;
    }
    let position = row::position(first, "position")?;
    let current = CurrentMoney::new(&totals, position, first.try_get("as_of")?).map_err(decode_error)?;
    let generation: i64 = first.try_get("generation")?;
    let etag = HeaderValue::try_from(format!("\"{generation}-{position}\"")).map_err(decode_error)?;
    let body = serde_json::to_vec(&current).map_err(decode_error)?;
    Ok(Snapshot::new(position, body.into(), etag, age, latest_purchases(first)?))
}
