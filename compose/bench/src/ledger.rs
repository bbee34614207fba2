//! The books after every load: acknowledged = stored = projected, or the run fails.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use reqwest::Client;
use serde::Deserialize;
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use tokio::time::sleep;

use crate::rig::{ONE_ROW, Rig};
use stack::services::{EVENT_STORE, READ_MODEL};

/// A reader of the totals that waits for longer is answered by the limits of the services themselves.
const REQUEST_LIMIT: Duration = Duration::from_secs(20);
/// How often the projection is looked at while it catches up: the resolution of the time that it takes.
const LOOK_AGAIN: Duration = Duration::from_millis(5);
/// A projection or relay that comes no further in this time has stopped, whatever is left to do.
const STANDS_STILL_AFTER: Duration = Duration::from_mins(1);
/// How often a long wait says how it stands.
const TELL_EVERY: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub struct Ledger {
    pub event_store: PgPool,
    read_model: PgPool,
    one_row: PgPool,
    pub http: Client,
    totals_url: String,
    metrics_url: String,
}

/// Where the books stand.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    pub position: i64,
    sales_count: i64,
    rows: i64,
}

/// Who keeps the books of a load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Books {
    /// The event log, and the read model after it.
    Log,
    /// The table of the shop that stores one row per request.
    Rows,
    /// Nobody: what was sent was answered, and that is all.
    None,
}

#[derive(Deserialize)]
struct Totals {
    sales_count: i64,
    position: i64,
}

impl Ledger {
    pub fn open(rig: &Rig) -> Result<Self> {
        let pool = |database| -> Result<PgPool> {
            Ok(PgPoolOptions::new().max_connections(2).connect_lazy(&rig.database_url(database)?)?)
        };
        Ok(Self {
            event_store: pool(EVENT_STORE)?,
            read_model: pool(READ_MODEL)?,
            one_row: pool(ONE_ROW)?,
            http: Client::builder().timeout(REQUEST_LIMIT).build()?,
            totals_url: format!("http://{}/api/get_current_money", rig.addresses.query_api),
            metrics_url: format!("http://{}/metrics", rig.addresses.command_api),
        })
    }

    /// Where everything stands once nothing is under way any more.
    pub async fn mark(&self) -> Result<Mark> {
        let position = self.settle().await?;
        let totals = self.totals().await?;
        ensure!(
            totals.position == position,
            "the books do not agree: nobody buys, but the totals went on from {position} to {}",
            totals.position
        );
        Ok(Mark { position, sales_count: totals.sales_count, rows: self.rows().await? })
    }

    /// Compares what has come since `before` with what was acknowledged.
    pub async fn check(&self, books: Books, before: Mark, acknowledged: i64) -> Result<()> {
        let now = self.mark().await?;
        let stored = self.stored_after(before.position).await?;
        let numbered = now.position - before.position;
        let projected = now.sales_count - before.sales_count;
        let rows = now.rows - before.rows;
        let (in_log, in_rows) = match books {
            Books::Log => (acknowledged, 0),
            Books::Rows => (0, acknowledged),
            Books::None => (0, 0),
        };
        ensure!(
            stored == in_log && numbered == in_log && projected == in_log && rows == in_rows,
            "the books do not agree: {acknowledged} acknowledged, {stored} events in the log which is {numbered} longer, \
             {projected} projected, {rows} single rows (expected {in_log} in the log, {in_rows} single rows)"
        );
        Ok(())
    }

    /// Waits until the relay has published and the projector has counted and signed all that the log holds now. Returns
    /// where that ends.
    pub async fn settle(&self) -> Result<i64> {
        let head = self.head().await?;
        let mut progress_at = Instant::now();
        let mut told_at = Instant::now();
        let mut least_behind = i64::MAX;
        loop {
            let (published, projected) = (self.published().await?, self.totals().await?.position);
            let signed = self.signed().await?;
            let behind = (head - published).max(head - projected).max(head - signed);
            if behind <= 0 {
                return Ok(head);
            }
            if behind < least_behind {
                least_behind = behind;
                progress_at = Instant::now();
            }
            ensure!(
                progress_at.elapsed() < STANDS_STILL_AFTER,
                "the log ends at {head}, but the stream stands still at {published}, the totals at {projected} or the \
                 checkpoints at {signed}; the logs of command-api and projector say more"
            );
            if told_at.elapsed() >= TELL_EVERY {
                told_at = Instant::now();
                println!("    waiting for relay, projection and checkpoints: {behind} events to go");
            }
            sleep(LOOK_AGAIN).await;
        }
    }

    pub async fn head(&self) -> Result<i64> {
        Ok(sqlx::query_scalar("select position from head").fetch_one(&self.event_store).await?)
    }

    /// The position that the totals reflect.
    pub async fn projected(&self) -> Result<i64> {
        Ok(self.totals().await?.position)
    }

    async fn totals(&self) -> Result<Totals> {
        let answer = self.http.get(&self.totals_url).send().await?.error_for_status()?;
        Ok(answer.json().await?)
    }

    /// The position that is known to be on the stream.
    async fn published(&self) -> Result<i64> {
        const METRIC: &str = "sales_relay_position ";
        let metrics = self.http.get(&self.metrics_url).send().await?.error_for_status()?.text().await?;
        let value = metrics.lines().find_map(|line| line.strip_prefix(METRIC));
        let position = value.with_context(|| format!("command-api has no metric {METRIC}"))?.parse()?;
        Ok(position)
    }

    /// The position up to which checkpoints are signed.
    async fn signed(&self) -> Result<i64> {
        Ok(sqlx::query_scalar("select position from tree_head").fetch_one(&self.read_model).await?)
    }

    /// Counted, not taken from anybody's word.
    async fn stored_after(&self, position: i64) -> Result<i64> {
        let count = sqlx::query_scalar("select count(*) from event where position > $1").bind(position);
        Ok(count.fetch_one(&self.event_store).await?)
    }

    async fn rows(&self) -> Result<i64> {
        Ok(sqlx::query_scalar("select count(*) from purchase").fetch_one(&self.one_row).await?)
    }
}
