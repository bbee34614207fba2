//! The check after every load: acknowledged = stored = projected, or the run fails.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use sqlx::query_scalar;

use crate::{Storage, TestBed};

const POLL_INTERVAL: Duration = Duration::from_millis(5);
/// Relay, projection or signing made no progress for so long: it has stopped.
const STALLED_AFTER: Duration = Duration::from_mins(1);

#[derive(Clone, Copy, Debug)]
pub struct Mark {
    totals: Totals,
    rows: i64,
}

#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Totals {
    sales_count: i64,
    pub position: i64,
}

impl TestBed {
    /// The state once all events are projected and signed.
    pub fn mark(&self) -> Result<Mark> {
        let (position, totals) = (self.settle()?, self.totals()?);
        ensure!(
            totals.position == position,
            "the consistency check failed: without any load, the totals moved from {position} to {}",
            totals.position
        );
        Ok(Mark { totals, rows: self.scalar(&self.one_row, query_scalar("select count(*) from purchase"))? })
    }

    /// Compares the changes since `before` with the number of acknowledged purchases.
    pub fn check(&self, stores_in: Storage, before: Mark, acknowledged: i64) -> Result<()> {
        let now = self.mark()?;
        let stored = query_scalar("select count(*) from event where position > $1").bind(before.totals.position);
        let stored = self.scalar(&self.event_store, stored)?;
        let numbered = now.totals.position - before.totals.position;
        let projected = now.totals.sales_count - before.totals.sales_count;
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
        let (mut least, mut progress_at) = (-1, Instant::now());
        loop {
            let (published, projected, signed) = (self.published()?, self.totals()?.position, self.signed()?);
            let settled = published.min(projected).min(signed);
            if settled >= head {
                return Ok(head);
            }
            if settled > least {
                (least, progress_at) = (settled, Instant::now());
            }
            ensure!(
                progress_at.elapsed() < STALLED_AFTER,
                "no progress for {STALLED_AFTER:?}: the log ends at {head}, the stream at {published}, the totals at \
                 {projected}, the signed checkpoints at {signed}; see the logs of command-api and projector"
            );
            self.pause(POLL_INTERVAL)?;
        }
    }

    pub fn head(&self) -> Result<i64> {
        self.scalar(&self.event_store, query_scalar("select position from head"))
    }

    pub fn signed(&self) -> Result<i64> {
        self.scalar(&self.read_model, query_scalar("select position from tree_head"))
    }

    pub fn totals(&self) -> Result<Totals> {
        self.block_on(async { Ok(self.get(&self.totals_url()).await?.json().await?) })
    }

    fn published(&self) -> Result<i64> {
        const METRIC: &str = "sales_relay_position ";
        let url = format!("http://{}/metrics", self.command_api);
        let metrics = self.block_on(async { Ok(self.get(&url).await?.text().await?) })?;
        let value = metrics.lines().find_map(|line| line.strip_prefix(METRIC));
        Ok(value.with_context(|| format!("command-api has no metric {METRIC}"))?.parse()?)
    }
}
