//! Compares the live totals with the log, continuously.
//!
//! It adds up the log a second time, in memory and from position 1, and shares only the rules with the projection. Totals and
//! position come from one statement, and the log is added up to exactly that position. So every difference is an error, however
//! fast the position advances.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use contract::{catalogue::License, totals::Totals};
use event_log::LastEvent;
use prometheus_client::{
    metrics::{counter::Counter, gauge::Gauge},
    registry::Registry,
};
use runtime::run_loop;
use sqlx::{
    PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tokio::time::{Instant, sleep_until};
use tracing::{error, info, warn};

use crate::{
    batch_delta::BatchDelta,
    chunk::add_up,
    projection::ProjectionError,
    read_model::{self, Generation},
};

/// Interval between comparisons. A comparison costs one query to the read model, and every event is read once.
const COMPARE_INTERVAL: Duration = Duration::from_secs(5);
/// Interval between comparisons of the history, which read some 100,000 rows for each year of it.
const HISTORY_INTERVAL: Duration = Duration::from_mins(1);
/// Events per statement: it takes some ten milliseconds, so its snapshot does not hold back vacuum.
const CHUNK_EVENTS: i64 = 20_000;
/// Interval between chunks: catching up with a long log then takes a twentieth of a core, at some 90,000 events/s, which is
/// faster than events can be appended.
const CHUNK_INTERVAL: Duration = Duration::from_millis(200);

/// Metrics of the reconciliation.
#[derive(Clone)]
pub struct Metrics {
    position: Gauge,
    difference: Gauge,
    comparisons: Counter,
}

impl Metrics {
    pub fn register(registry: &mut Registry) -> Self {
        let metrics =
            Self { position: Gauge::default(), difference: Gauge::default(), comparisons: Counter::default() };
        let help = "Position at which the live totals last equalled those of the log";
        registry.register("reconciliation_position", help, metrics.position.clone());
        let help = "1 while the live totals or their history differ from the log";
        registry.register("reconciliation_difference", help, metrics.difference.clone());
        let help = "How often the live totals were compared with the log";
        registry.register("reconciliation_comparisons", help, metrics.comparisons.clone());
        metrics
    }
}

/// Compares the live totals with the log.
pub struct Reconciliation {
    event_store: PgConnectOptions,
    /// Reads the chunks; `None` after an abandoned COPY, whose rest the next statement would receive.
    reader: Option<PgPool>,
    read_model: PgPool,
    metrics: Metrics,
    due_at: Instant,
    fold: Option<Fold>,
    /// The reported finding; `None` once the totals equal the log again.
    reported: Option<Finding>,
}

/// The sum of the log, as far as it has been read.
struct Fold {
    /// The live generation. After a switch the log is read from the start, as a rebuild often follows the restore of another log.
    generation: i64,
    last: LastEvent,
    totals: Totals,
    past: PastSums,
    /// Initially at once, so that a restart does not end an alarm.
    past_due_at: Instant,
    /// The result of the last comparison.
    past_differs: bool,
}

/// Sales and minor units by licence, summed over the history and the snapshots. A reset changes neither.
#[derive(Default)]
struct PastSums(BTreeMap<License, (i128, i128)>);

impl PastSums {
    fn add(&mut self, delta: &BatchDelta) {
        let history = delta.history.minutes.iter().map(|minute| &minute.sold);
        for totals in history.chain(delta.snapshots.iter().map(|snapshot| &snapshot.totals)) {
            for (license, total) in totals.by_license() {
                let (sales_count, revenue_minor) = self.0.entry(license).or_default();
                *sales_count += i128::from(total.sales_count);
                *revenue_minor += i128::from(total.revenue.amount_minor());
            }
        }
    }

    /// As [`read_model::past_sums`].
    fn lines(&self) -> BTreeSet<String> {
        let sold = self.0.iter().filter(|(_, sums)| **sums != (0, 0));
        sold.map(|(license, (sales_count, revenue_minor))| format!("{} {sales_count} {revenue_minor}", license.name()))
            .collect()
    }
}

/// A difference. It is reported again only when it changes.
#[derive(Debug, Eq, PartialEq)]
enum Finding {
    Difference {
        /// Surplus sales and minor units of the live totals, by licence.
        totals: Vec<(License, i64, i64)>,
        past: bool,
    },
    /// The log or the read model is invalid.
    Unusable(String),
}

impl Fold {
    fn start(generation: i64) -> Self {
        Self {
            generation,
            last: LastEvent::START,
            totals: Totals::default(),
            past: PastSums::default(),
            past_due_at: Instant::now(),
            past_differs: false,
        }
    }
}

/// How far an iteration has come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Progress {
    CatchingUp,
    Compared,
}

impl Reconciliation {
    pub fn new(event_store: PgConnectOptions, read_model: PgPool, metrics: Metrics) -> Self {
        Self { event_store, reader: None, read_model, metrics, due_at: Instant::now(), fold: None, reported: None }
    }

    async fn read_and_compare(&mut self) -> Result<Progress, ProjectionError> {
        let mut snapshot = self.read_model.begin_with("begin isolation level repeatable read read only").await?;
        let live = read_model::load_live(&mut *snapshot).await?;
        let known =
            self.fold.take().filter(|fold| fold.generation == live.number && fold.last.position <= live.last.position);
        let fold = self.fold.insert(known.unwrap_or_else(|| Fold::start(live.number)));
        let until = live.last.position.min(fold.last.position.plus(CHUNK_EVENTS));
        let past = if until == live.last.position && Instant::now() >= fold.past_due_at {
            Some(read_model::past_sums(&mut *snapshot, live.number).await?)
        } else {
            None
        };
        snapshot.commit().await?;
        let reader = self
            .reader
            .take()
            .unwrap_or_else(|| PgPoolOptions::new().max_connections(1).connect_lazy_with(self.event_store.clone()));
        // Also when there is nothing to read: the log may have been truncated before the position that was read.
        event_log::read_following(&reader, &live.last, 0).await?;
        let delta = add_up(&reader, &fold.totals, &fold.last, until).await?;
        fold.past.add(&delta);
        fold.totals = delta.totals;
        fold.last = delta.last.unwrap_or(fold.last);
        self.reader = Some(reader);
        if until < live.last.position {
            return Ok(Progress::CatchingUp);
        }
        if let Some(past) = past {
            fold.past_differs = past != fold.past.lines();
            fold.past_due_at = Instant::now() + HISTORY_INTERVAL;
        }
        let (expected, past_differs) = (fold.totals.clone(), fold.past_differs);
        self.compare(&live, &expected, past_differs);
        Ok(Progress::Compared)
    }

    fn compare(&mut self, live: &Generation, expected: &Totals, past_differs: bool) {
        self.metrics.comparisons.inc();
        let position = live.last.position.get();
        let surplus = surplus(&live.totals, expected);
        if surplus.is_empty() {
            self.metrics.position.set(position);
        }
        if surplus.is_empty() && !past_differs {
            self.metrics.difference.set(0);
            if self.reported.take().is_some() {
                info!(event.name = "reconciliation.recovered", position, "The live totals equal the log again");
            }
        } else if self.is_news(Finding::Difference { totals: surplus, past: past_differs }) {
            let live = &live.totals;
            error!(
                event.name = "reconciliation.difference",
                position,
                %live,
                %expected,
                history_differs = past_differs,
                "The live totals or their history differ from the log; run `projector rebuild` only after `auditor verify` has found no fault in the log"
            );
        }
    }

    /// Records a finding. Returns false when it was reported before.
    fn is_news(&mut self, finding: Finding) -> bool {
        self.metrics.difference.set(1);
        let news = self.reported.as_ref() != Some(&finding);
        self.reported = Some(finding);
        news
    }
}

impl run_loop::Step for Reconciliation {
    type Error = ProjectionError;

    async fn due(&mut self) {
        sleep_until(self.due_at).await;
    }

    /// Reads the next chunk of the log, and compares once it has reached the live position. An error means that a database is
    /// unreachable.
    async fn step(&mut self) -> Result<(), ProjectionError> {
        let progress = match self.read_and_compare().await {
            Err(wrong) if wrong.is_integrity_violation() || is_tampered(&wrong) => {
                // The sum may hold events that the log no longer has: start from scratch.
                self.fold = None;
                let reason = wrong.to_string();
                if self.is_news(Finding::Unusable(reason.clone())) {
                    error!(
                        event.name = "reconciliation.failed",
                        reason, "The live totals cannot be compared with the log"
                    );
                }
                Progress::Compared
            }
            outcome => outcome?,
        };
        self.due_at = Instant::now() + if progress == Progress::Compared { COMPARE_INTERVAL } else { CHUNK_INTERVAL };
        Ok(())
    }

    async fn observe(&mut self, _: Result<(), &ProjectionError>) {}

    fn report(&self, failure: Option<&ProjectionError>) {
        if let Some(error) = failure {
            warn!(event.name = "reconciliation.waiting", %error, "The totals are not compared; retrying");
        } else {
            info!("The totals are compared again");
        }
    }
}

/// Wrapping, as a tampered total may be any number.
fn surplus(live: &Totals, expected: &Totals) -> Vec<(License, i64, i64)> {
    let surplus = live.differences(expected).map(|(license, live, expected)| {
        let sales = live.sales_count.wrapping_sub(expected.sales_count);
        (license, sales, live.revenue.amount_minor().wrapping_sub(expected.revenue.amount_minor()))
    });
    surplus.collect()
}

/// The read model contains a value that no projection writes.
fn is_tampered(error: &ProjectionError) -> bool {
    matches!(error, ProjectionError::ReadModel(sqlx::Error::Decode(_)))
}
