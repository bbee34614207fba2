//! Compares the live generation with a rebuilt one, and logs the differences.

use std::{cmp::Ordering, ops::Add};

use chrono::{DateTime, Utc};
use sqlx::{Connection, PgConnection, PgPool};
use tracing::warn;

use crate::read_model::Generation;

/// How the live generation compares with the rebuilt one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Comparison {
    Same,
    Different,
    /// Both were never at the same position.
    LiveWasBehind,
}

/// Compares both, and logs the differences: per licence, in the histories and in the newest purchases. `latest` is the number of rows
/// that only one of the lists of newest purchases has.
pub fn compare(live: &Generation, rebuilt: &Generation, history: HistoryDifferences, latest: usize) -> Comparison {
    let same = live.totals == rebuilt.totals && history.entries == 0 && latest == 0;
    match live.last.position.cmp(&rebuilt.last.position) {
        Ordering::Less => Comparison::LiveWasBehind,
        Ordering::Equal if same => Comparison::Same,
        // A live generation beyond the end of the log has applied events that the log does not contain.
        Ordering::Equal | Ordering::Greater => {
            log_differences(live, rebuilt, history, latest);
            Comparison::Different
        }
    }
}

fn log_differences(live: &Generation, rebuilt: &Generation, history: HistoryDifferences, latest: usize) {
    warn!(
        live.position = live.last.position.get(),
        rebuilt.position = rebuilt.last.position.get(),
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
        warn!(entries, %first_at, "The histories differ: buckets and resets that only one of them has");
    }
    if latest > 0 {
        warn!(entries = latest, "The newest purchases differ: rows that only one of the lists has");
    }
}

/// How many buckets and resets only one of two histories has, and the time of the first.
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

/// Compares the buckets that ended before the time of the older position: they no longer change, even while both generations
/// advance. Returns that time, too.
pub async fn compare_settled(
    read_model: &PgPool,
    live: &Generation,
    rebuilt: &Generation,
) -> sqlx::Result<(HistoryDifferences, DateTime<Utc>)> {
    let mut connection = read_model.acquire().await?;
    let mut transaction = connection.begin().await?;
    // However long the history is: this blocks only the rebuild.
    for timeout in ["set local statement_timeout = 0", "set local transaction_timeout = 0"] {
        sqlx::query(timeout).execute(&mut *transaction).await?;
    }
    let compared = differences(&mut transaction, live, rebuilt, None).await?;
    transaction.rollback().await?;
    Ok(compared)
}

/// Compares the rest, of two generations that are locked at the same position.
pub async fn compare_rest(
    transaction: &mut PgConnection,
    live: &Generation,
    rebuilt: &Generation,
    since: DateTime<Utc>,
) -> sqlx::Result<HistoryDifferences> {
    if live.last.position != rebuilt.last.position {
        return Ok(HistoryDifferences::default());
    }
    let (differences, _) = differences(transaction, live, rebuilt, Some(since)).await?;
    Ok(differences)
}

async fn differences(
    database: &mut PgConnection,
    live: &Generation,
    rebuilt: &Generation,
    since: Option<DateTime<Utc>>,
) -> sqlx::Result<(HistoryDifferences, DateTime<Utc>)> {
    let (until, entries, first_at) = sqlx::query_as(include_str!("../sql/history_differences.sql"))
        .bind(live.number)
        .bind(rebuilt.number)
        .bind(since)
        .fetch_one(database)
        .await?;
    Ok((HistoryDifferences { entries, first_at }, until))
}
