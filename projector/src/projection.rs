//! Takes the next events, adds them up, and advances position and totals together.

use std::{pin::pin, sync::atomic::AtomicU64, time::Duration};

use chrono::Utc;
use contract::{catalogue::License, position::Position, recorded_event::RecordedEvent, totals::Totals};
use event_log::{Decisions, LastEvent, ReadError};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};
use runtime::{
    fail_points::fail_point,
    run_loop,
    traces::{SpanKind, Step},
};
use sqlx::{PgPool, error::DatabaseError};
use tokio::{
    sync::watch,
    time::{Instant, error::Elapsed, timeout},
};
use tracing::{error, info, warn};

use crate::{
    batch_delta::{ApplyError, BatchDelta},
    feed::Feed,
    read_model::{self, Generation},
};

/// Class of the SQLSTATE codes for invalid data: a number out of range, a character that no text may contain.
const DATA_EXCEPTION: &str = "22";

/// How often the lag is recorded during a step, such as one that waits for a lock. Longer than a step takes while there are no events.
const LAG_INTERVAL: Duration = Duration::from_secs(2);

/// State of the projection, for readiness.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum State {
    Starting,
    Running,
    /// A database is unreachable; the projection resumes automatically.
    Waiting(String),
    /// An event cannot be applied. Neither it nor any later event is, until a version, a decision or a repaired log allows it.
    Halted(String),
}

impl State {
    pub fn ready(&self) -> Result<(), String> {
        match self {
            Self::Running => Ok(()),
            Self::Starting => Err("the read model has not been read yet".to_owned()),
            Self::Waiting(reason) | Self::Halted(reason) => Err(reason.clone()),
        }
    }
}

/// Why the projection does not advance.
#[derive(Debug, thiserror::Error)]
pub enum ProjectionError {
    #[error(transparent)]
    Log(#[from] ReadError),
    #[error("the read model cannot be used: {0}")]
    ReadModel(#[from] sqlx::Error),
    #[error(transparent)]
    Apply(#[from] ApplyError),
    #[error("a database did not answer in time")]
    TimedOut(#[from] Elapsed),
}

impl ProjectionError {
    /// Whether the log itself is invalid, rather than unreachable.
    pub fn is_integrity_violation(&self) -> bool {
        match self {
            Self::Apply(_) => true,
            Self::Log(error) => error.is_integrity_violation(),
            // A retry does not change the data.
            Self::ReadModel(error) => error
                .as_database_error()
                .and_then(DatabaseError::code)
                .is_some_and(|code| code.starts_with(DATA_EXCEPTION)),
            Self::TimedOut(_) => false,
        }
    }
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Sold {
    license: &'static str,
    currency: &'static str,
}

/// Metrics of the projection.
#[derive(Clone)]
pub struct Metrics {
    sold: Family<Sold, Gauge>,
    revenue: Family<Sold, Gauge>,
    position: Gauge,
    lag_positions: Gauge,
    lag_seconds: Gauge<f64, AtomicU64>,
    events: Counter,
    batch_size: Histogram,
    halted: Gauge,
}

impl Metrics {
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            sold: Family::default(),
            revenue: Family::default(),
            position: Gauge::default(),
            lag_positions: Gauge::default(),
            lag_seconds: Gauge::default(),
            events: Counter::default(),
            batch_size: Histogram::new([1.0, 4.0, 16.0, 64.0, 256.0, 1000.0]),
            halted: Gauge::default(),
        };
        registry.register("sold", "Licences sold since the last reset", metrics.sold.clone());
        registry.register("revenue_minor", "Revenue since the last reset, in minor units", metrics.revenue.clone());
        registry.register("projection_position", "Log position of the live read model", metrics.position.clone());
        registry.register(
            "projection_lag_positions",
            "Events received but not counted yet, at most a batch",
            metrics.lag_positions.clone(),
        );
        let help = "Age of the oldest event that is not counted, or time since the log was last readable; 0 at its end";
        registry.register_with_unit("projection_lag", help, Unit::Seconds, metrics.lag_seconds.clone());
        registry.register("projection_events", "Events counted by this process", metrics.events.clone());
        registry.register("projection_batch_size", "Events per transaction", metrics.batch_size.clone());
        registry.register("projection_halted", "1 while an event cannot be applied", metrics.halted.clone());
        metrics
    }

    fn show(&self, position: Position, totals: &Totals) {
        self.position.set(position.get());
        for license in License::ALL {
            let total = totals.of(license);
            let label = Sold { license: license.name(), currency: total.revenue.currency().code() };
            self.sold.get_or_create(&label).set(total.sales_count);
            self.revenue.get_or_create(&label).set(total.revenue.amount_minor());
        }
    }
}

/// Keeps the live generation of the read model up to date.
pub struct Projection {
    read_model: PgPool,
    feed: Feed,
    metrics: Metrics,
    state: watch::Sender<State>,
    /// The live generation; `None` when another process may have changed it.
    live: Option<Generation>,
    /// When the whole log was last known to be counted.
    complete_at: Instant,
}

impl Projection {
    pub fn new(read_model: PgPool, feed: Feed, metrics: Metrics, state: watch::Sender<State>) -> Self {
        Self { read_model, feed, metrics, state, live: None, complete_at: Instant::now() }
    }

    /// Waits, bounded, for the next events, and counts them.
    pub async fn advance(&mut self) -> Result<(), ProjectionError> {
        let live = if let Some(live) = self.live.take() {
            live
        } else {
            let live = read_model::load_live(&self.read_model).await?;
            self.metrics.show(live.last.position, &live.totals);
            live
        };
        let next = self.feed.next(&live.last).await?;
        let (mut delta, mut not_applied) = apply(&live.totals, &next.events, &Decisions::default());
        if not_applied.is_some() {
            // Read now, and again at each retry: the halt ends as soon as a decision is in the log.
            let decisions = self.feed.decisions(live.last.position).await?;
            (delta, not_applied) = apply(&live.totals, &next.events, &decisions);
        }
        self.record_lag(&next.events);
        self.live = self.store(live, &next.events, delta).await?;
        if let Some(error) = not_applied {
            return Err(error.into());
        }
        let Some(live) = &self.live else { return Ok(()) };
        if let Some(newest) = next.events.last() {
            let age = (Utc::now() - newest.recorded_at).to_std().unwrap_or_default();
            self.complete_at = self.complete_at.max(Instant::now() - age);
        }
        if next.at_end {
            if !read_model::confirm(&self.read_model, live).await? {
                self.live = None;
                return Ok(());
            }
            self.record_lag(&[]);
            self.complete_at = Instant::now();
        }
        Ok(())
    }

    /// The generation after the write; `None` when another projector was faster, and it has to be loaded again.
    async fn store(
        &mut self,
        live: Generation,
        events: &[RecordedEvent],
        delta: BatchDelta,
    ) -> sqlx::Result<Option<Generation>> {
        let Some(newest) = delta.last else { return Ok(Some(live)) };
        let counting = Step::begin();
        fail_point("advance");
        if !read_model::advance(&self.read_model, &live, &delta).await? {
            return Ok(None);
        }
        fail_point("advanced");
        let counted = u32::try_from(newest.position.get() - live.last.position.get()).unwrap_or(u32::MAX);
        counting.done("count", &SpanKind::Consumer, &events[..events.len().min(counted as usize)]);
        self.metrics.show(newest.position, &delta.totals);
        self.metrics.events.inc_by(counted.into());
        self.metrics.batch_size.observe(counted.into());
        Ok(Some(Generation { last: newest, totals: delta.totals, ..live }))
    }

    fn record_lag(&self, pending: &[RecordedEvent]) {
        self.metrics.lag_positions.set(i64::try_from(pending.len()).unwrap_or(i64::MAX));
        let age = pending.first().map_or(0.0, |oldest| (Utc::now() - oldest.recorded_at).as_seconds_f64().max(0.0));
        self.metrics.lag_seconds.set(age);
    }
}

impl run_loop::Step for Projection {
    type Error = ProjectionError;

    async fn step(&mut self) -> Result<(), ProjectionError> {
        let (lag, complete_at) = (self.metrics.lag_seconds.clone(), self.complete_at);
        let mut advance = pin!(self.advance());
        loop {
            match timeout(LAG_INTERVAL, &mut advance).await {
                Ok(advanced) => return advanced,
                Err(_) => lag.set(complete_at.elapsed().as_secs_f64()),
            };
        }
    }

    async fn observe(&mut self, outcome: Result<(), &ProjectionError>) {
        // A database that is unreachable meanwhile does not end a halt.
        let state = match outcome {
            Ok(()) => {
                self.metrics.halted.set(0);
                State::Running
            }
            Err(error) => {
                self.live = None;
                self.metrics.lag_seconds.set(self.complete_at.elapsed().as_secs_f64());
                if error.is_integrity_violation() {
                    self.metrics.halted.set(1);
                    State::Halted(error.to_string())
                } else {
                    State::Waiting(error.to_string())
                }
            }
        };
        self.state.send_if_modified(|current| {
            let changed = *current != state;
            *current = state;
            changed
        });
    }

    fn report(&self, failure: Option<&ProjectionError>) {
        match failure {
            Some(reason) if reason.is_integrity_violation() => {
                error!(event.name = "projection.halted", %reason, "The projection has halted: no event is skipped");
            }
            Some(reason) => warn!(event.name = "projection.waiting", %reason, "The projection is waiting; retrying"),
            None => info!(event.name = "projection.recovered", "The projection has recovered"),
        }
    }
}

/// Applies events up to the first that cannot be applied.
fn apply(totals: &Totals, events: &[RecordedEvent], decisions: &Decisions) -> (BatchDelta, Option<ApplyError>) {
    let mut delta = BatchDelta::on(totals);
    let not_applied = events.iter().find_map(|event| delta.apply(LastEvent::of(event), decisions.meaning(event)).err());
    (delta, not_applied)
}
