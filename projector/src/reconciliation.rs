//! Whether the live totals are those of the log, asked again and again while everything runs.
//!
//! The log is added up a second time here, in memory and from position 1 on, by a reader that shares nothing with the
//! projection but the rules. Totals and checkpoint come from one statement, and the log is added up to exactly that checkpoint, so
//! that however fast the checkpoint moves, what differs is wrong.

use std::time::Duration;

use contract::{catalogue::License, position::Position, totals::Totals};
use event_log::{self, ReadError};
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
use tracing::{debug, error, info};

use crate::{
    projection::ProjectionError,
    read_model::{self, Generation},
    stretch::add_up,
};

/// How long a difference may stay unnoticed. A round costs one look at the read model, and every event is read once.
const INTERVAL: Duration = Duration::from_secs(5);
/// Events per statement: some ten milliseconds' worth, too short for its snapshot to hold back any vacuum.
const STRETCH: i64 = 20_000;
/// From one stretch to the next, so that a long log takes a twentieth of one core from the purchases, and not a whole one. It is
/// read at some 90,000 events/s that way: faster than any can be appended.
const PAUSE: Duration = Duration::from_millis(200);

/// What operators see of the reconciliation.
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
        let help = "Position at which the live totals were last found to be those of the log";
        registry.register("reconciliation_position", help, metrics.position.clone());
        let help = "1 while the live totals are not those of the log";
        registry.register("reconciliation_difference", help, metrics.difference.clone());
        let help = "How often the live totals were compared with the log";
        registry.register("reconciliation_comparisons", help, metrics.comparisons.clone());
        metrics
    }
}

/// Compares the live totals with the log.
pub struct Reconciliation {
    event_store: PgConnectOptions,
    /// Where stretches are read; `None` after one that was left in the middle, which would answer the next statement.
    reader: Option<PgPool>,
    read_model: PgPool,
    metrics: Metrics,
    due_at: Instant,
    fold: Option<Fold>,
    /// What was found wrong and told, until all is right again.
    told: Option<Finding>,
}

/// What the log adds up to, as far as it has been read.
struct Fold {
    /// The live generation meanwhile. For another one the log is read anew: a rebuild is often made because the log
    /// itself is another one.
    generation: i64,
    position: Position,
    totals: Totals,
}

/// What is wrong. It is told again only when it becomes another one.
#[derive(Debug, Eq, PartialEq)]
enum Finding {
    /// How many sales and minor units the live totals have too many, by licence.
    Totals(Vec<(License, i64, i64)>),
    /// The log, or the read model, is not what it should be.
    Unusable(String),
}

/// How far an iteration has come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Progress {
    CatchingUp,
    Compared,
}

impl Reconciliation {
    pub fn new(event_store: PgConnectOptions, read_model: PgPool, metrics: Metrics) -> Self {
        Self { event_store, reader: None, read_model, metrics, due_at: Instant::now(), fold: None, told: None }
    }

    async fn read_and_compare(&mut self) -> Result<Progress, ProjectionError> {
        let live = read_model::load_live(&self.read_model).await?;
        let known = self.fold.take().filter(|fold| fold.generation == live.number && fold.position <= live.checkpoint);
        let fold = self.fold.insert(known.unwrap_or_else(|| Fold::of(&live)));
        let until = live.checkpoint.min(fold.position.plus(STRETCH));
        let reader = self
            .reader
            .take()
            .unwrap_or_else(|| PgPoolOptions::new().max_connections(1).connect_lazy_with(self.event_store.clone()));
        // Asked even when nothing is to be read: the log may have been cut off behind what was read of it.
        let end = event_log::head(&reader).await.map_err(ReadError::from)?;
        if end < live.checkpoint {
            return Err(ReadError::CutOff { end, after: live.checkpoint }.into());
        }
        if fold.position < until {
            fold.totals = add_up(&reader, &fold.totals, fold.position, until).await?.totals;
            fold.position = until;
        }
        self.reader = Some(reader);
        if until < live.checkpoint {
            return Ok(Progress::CatchingUp);
        }
        let expected = fold.totals.clone();
        self.compare(&live, &expected);
        Ok(Progress::Compared)
    }

    fn compare(&mut self, live: &Generation, expected: &Totals) {
        self.metrics.comparisons.inc();
        let position = live.checkpoint.get();
        let surplus = surplus(&live.totals, expected);
        if surplus.is_empty() {
            self.metrics.position.set(position);
            self.metrics.difference.set(0);
            if self.told.take().is_some() {
                info!(position, "The live totals are those of the log again");
            }
        } else if self.is_news(Finding::Totals(surplus)) {
            let live = &live.totals;
            error!(position, %live, %expected, "The live totals are not those of the log; `projector rebuild` puts them right");
        }
    }

    /// Notes what is wrong. False when that was told before.
    fn is_news(&mut self, finding: Finding) -> bool {
        self.metrics.difference.set(1);
        let news = self.told.as_ref() != Some(&finding);
        self.told = Some(finding);
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
            Err(wrong) if wrong.is_alarm() || is_falsified(&wrong) => {
                // The sum may hold events that the log no longer has: start from scratch.
                self.fold = None;
                let reason = wrong.to_string();
                if self.is_news(Finding::Unusable(reason.clone())) {
                    error!(reason, "The live totals cannot be compared with the log");
                }
                Progress::Compared
            }
            outcome => outcome?,
        };
        self.due_at = Instant::now() + if progress == Progress::Compared { INTERVAL } else { PAUSE };
        Ok(())
    }

    async fn observe(&mut self, _: Result<(), &ProjectionError>) {}

    fn report(&self, failure: Option<&ProjectionError>) {
        if let Some(error) = failure {
            debug!(%error, "The reconciliation is waiting"); // the projection warns
        }
    }
}

impl Fold {
    fn of(live: &Generation) -> Self {
        Self { generation: live.number, position: Position::START, totals: Totals::default() }
    }
}

/// Wrapping, as a falsified total may be any number.
fn surplus(live: &Totals, expected: &Totals) -> Vec<(License, i64, i64)> {
    let too_many = live.differences(expected).map(|(license, live, expected)| {
        let sales = live.sales_count.wrapping_sub(expected.sales_count);
        (license, sales, live.revenue.amount_minor().wrapping_sub(expected.revenue.amount_minor()))
    });
    too_many.collect()
}

/// The read model holds something that no projection writes.
fn is_falsified(error: &ProjectionError) -> bool {
    matches!(error, ProjectionError::ReadModel(sqlx::Error::Decode(_)))
}
