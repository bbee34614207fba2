//! How the live generation compares with a rebuilt one, and telling what differs.

use std::{cmp::Ordering, collections::BTreeSet, ops::Add};

use chrono::{DateTime, Utc};
use sqlx::{Connection, PgConnection, PgPool, Row, postgres::PgRow};
use tracing::warn;

use crate::read_model::Generation;

/// How the live generation compares with the rebuilt one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Comparison {
    Same,
    Different,
    /// There was no position at which both could be compared.
    LiveWasBehind,
}

/// Compares both, and logs the differences: per licence, in the histories and in the newest purchases.
pub fn compare(
    live: &Generation,
    rebuilt: &Generation,
    history: HistoryDifferences,
    latest: LatestDifferences,
) -> Comparison {
    match live.checkpoint.cmp(&rebuilt.checkpoint) {
        Ordering::Less => Comparison::LiveWasBehind,
        Ordering::Equal if live.totals == rebuilt.totals && history.entries == 0 && latest.0 == 0 => Comparison::Same,
        // A live generation beyond the end of the log counts what the log does not hold.
        Ordering::Equal | Ordering::Greater => {
            log_differences(live, rebuilt, history, latest);
            Comparison::Different
        }
    }
}

fn log_differences(live: &Generation, rebuilt: &Generation, history: HistoryDifferences, latest: LatestDifferences) {
    warn!(
        live.position = live.checkpoint.get(),
        rebuilt.position = rebuilt.checkpoint.get(),
        "The live read model and the rebuilt one differ"
    );
    for (license, old, new) in live.totals.differences(&rebuilt.totals) {
        warn!(
            license = license.name(),
            live.sales_count = old.sales_count,
            live.revenue_minor = old.revenue.amount_minor(),
            live.currency = old.revenue.currency().code(),
            rebuilt.sales_count = new.sales_count,
            rebuilt.revenue_minor = new.revenue.amount_minor(),
            rebuilt.currency = new.revenue.currency().code(),
            "Of {}, the live read model has {old}, the rebuilt one {new}",
            license.name()
        );
    }
    if let HistoryDifferences { entries, first_at: Some(first_at) } = history {
        warn!(entries, %first_at, "The histories differ: so many buckets and resets are in one of them alone");
    }
    if latest.0 > 0 {
        warn!(entries = latest.0, "The newest purchases differ: so many entries are in one of the lists alone");
    }
}

/// How many entries only one of two lists of newest purchases has.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct LatestDifferences(usize);

/// Compares two lists of the same position as [`stored_latest`](crate::read_model::stored_latest) returns them.
pub fn compare_latest(live: &BTreeSet<String>, rebuilt: &BTreeSet<String>) -> LatestDifferences {
    LatestDifferences(live.symmetric_difference(rebuilt).count())
}

/// How many buckets and resets of two histories are in one of them alone, and the earliest.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct HistoryDifferences {
    entries: i64,
    first_at: Option<DateTime<Utc>>,
}

impl Add for HistoryDifferences {
    type Output = Self;

    fn add(self, later: Self) -> Self {
        Self { entries: self.entries + later.entries, first_at: self.first_at.or(later.first_at) }
    }
}

/// Compares what was over when the one that is behind stood where it stands: that does not change any more, however fast
/// both go on. Also says up to when that was.
pub async fn compare_settled(
    read_model: &PgPool,
    live: &Generation,
    rebuilt: &Generation,
) -> sqlx::Result<(HistoryDifferences, DateTime<Utc>)> {
    let mut connection = read_model.acquire().await?;
    let mut transaction = connection.begin().await?;
    // However long the history is: nobody waits for this but the rebuild.
    sqlx::query("set local statement_timeout = 0").execute(&mut *transaction).await?;
    let (row, differences) = differences(&mut transaction, live, rebuilt, None).await?;
    transaction.rollback().await?;
    Ok((differences, row.try_get("until")?))
}

/// Compares the rest, of two that are held still at the same position.
pub async fn compare_rest(
    transaction: &mut PgConnection,
    live: &Generation,
    rebuilt: &Generation,
    since: DateTime<Utc>,
) -> sqlx::Result<HistoryDifferences> {
    if live.checkpoint != rebuilt.checkpoint {
        return Ok(HistoryDifferences::default());
    }
    Ok(differences(transaction, live, rebuilt, Some(since)).await?.1)
}

async fn differences(
    database: &mut PgConnection,
    live: &Generation,
    rebuilt: &Generation,
    since: Option<DateTime<Utc>>,
) -> sqlx::Result<(PgRow, HistoryDifferences)> {
    let row = sqlx::query(include_str!("sql/history_differences.sql"))
        .bind(live.number)
        .bind(rebuilt.number)
        .bind(since)
        .fetch_one(database)
        .await?;
    let differences = HistoryDifferences { entries: row.try_get("entries")?, first_at: row.try_get("first_at")? };
    Ok((row, differences))
}
