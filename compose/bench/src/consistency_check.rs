//! The check after every load: acknowledged = stored = projected, or the run fails.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use sqlx::PgPool;

use crate::test_bed::{Storage, TestBed};

const POLL_INTERVAL: Duration = Duration::from_millis(5);
/// Relay, projection or signing made no progress for so long: it has stopped.
const STALLED_AFTER: Duration = Duration::from_mins(1);
const REPORT_INTERVAL: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, Debug)]
pub struct Mark {
    position: i64,
    sales_count: i64,
    rows: i64,
}

#[derive(Deserialize)]
struct Totals {
    sales_count: i64,
    position: i64,
}

impl TestBed {
    /// The state once all events are projected and signed.
    pub fn mark(&self) -> Result<Mark> {
        let position = self.settle()?;
        let totals = self.totals()?;
        ensure!(
            totals.position == position,
            "the consistency check failed: without any load, the totals moved from {position} to {}",
            totals.position
        );
        let rows = self.scalar(&self.one_row, "select count(*) from purchase")?;
        Ok(Mark { position, sales_count: totals.sales_count, rows })
    }

    /// Compares the changes since `before` with the number of acknowledged purchases.
    pub fn check(&self, stores_in: Storage, before: Mark, acknowledged: i64) -> Result<()> {
        let now = self.mark()?;
        let stored: i64 = self.block_on(async {
            let count = sqlx::query_scalar("select count(*) from event where position > $1").bind(before.position);
            Ok(count.fetch_one(&self.event_store).await?)
        })?;
        let numbered = now.position - before.position;
        let projected = now.sales_count - before.sales_count;
        let rows = now.rows - before.rows;
        let (in_log, in_rows) = match stores_in {
            Storage::EventLog => (acknowledged, 0),
            Storage::OneRowTable => (0, acknowledged),
            Storage::Nothing => (0, 0),
        };
        ensure!(
            stored == in_log && numbered == in_log && projected == in_log && rows == in_rows,
            "the consistency check failed: {acknowledged} acknowledged, {stored} events stored, {numbered} positions \
             used, {projected} projected, {rows} single rows (expected {in_log} in the log, {in_rows} single rows)"
        );
        Ok(())
    }

    /// Waits until all events in the log are published, projected and signed. Returns the last position.
    pub fn settle(&self) -> Result<i64> {
        let head = self.head()?;
        let (mut progress_at, mut reported_at) = (Instant::now(), Instant::now());
        let mut least_behind = i64::MAX;
        loop {
            let (published, projected, signed) = (self.published()?, self.projected()?, self.signed()?);
            let behind = head - published.min(projected).min(signed);
            if behind <= 0 {
                return Ok(head);
            }
            if behind < least_behind {
                least_behind = behind;
                progress_at = Instant::now();
            }
            ensure!(
                progress_at.elapsed() < STALLED_AFTER,
                "no progress for {STALLED_AFTER:?}: the log ends at {head}, the stream at {published}, the totals at \
                 {projected}, the signed checkpoints at {signed}; see the logs of command-api and projector"
            );
            if reported_at.elapsed() >= REPORT_INTERVAL {
                reported_at = Instant::now();
                println!("    waiting for relay, projection and checkpoints: {behind} events to go");
            }
            thread::sleep(POLL_INTERVAL);
        }
    }

    pub fn head(&self) -> Result<i64> {
        self.scalar(&self.event_store, "select position from head")
    }

    pub fn projected(&self) -> Result<i64> {
        Ok(self.totals()?.position)
    }

    pub fn signed(&self) -> Result<i64> {
        self.scalar(&self.read_model, "select position from tree_head")
    }

    fn totals(&self) -> Result<Totals> {
        self.block_on(async { Ok(self.http.get(self.totals_url()).send().await?.error_for_status()?.json().await?) })
    }

    fn published(&self) -> Result<i64> {
        const METRIC: &str = "sales_relay_position ";
        let url = format!("http://{}/metrics", self.command_api);
        let metrics =
            self.block_on(async { Ok(self.http.get(url).send().await?.error_for_status()?.text().await?) })?;
        let value = metrics.lines().find_map(|line| line.strip_prefix(METRIC));
        Ok(value.with_context(|| format!("command-api has no metric {METRIC}"))?.parse()?)
    }

    pub fn scalar(&self, database: &PgPool, query: &'static str) -> Result<i64> {
        self.block_on(async { Ok(sqlx::query_scalar(query).fetch_one(database).await?) })
    }
}
