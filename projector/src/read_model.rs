//! The read model: totals, history, newest purchases and position, which change together or not at all.
//!
//! The database has one row per generation. Queries read the live one; a rebuild fills another alongside it.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use contract::{catalogue::License, event::EventId, totals::Totals};
use event_log::LastEvent;
use sqlx::{PgConnection, PgExecutor};

pub use event_log::read_model::{Generation, load_building, load_live};

use crate::batch_delta::BatchDelta;

/// The rules by which this program derives the read model. Increase it with every change after which the same events give
/// another read model: a rebuild resumes an interrupted one only if that followed the same rules.
pub const PROJECTION_VERSION: i32 = 5;

/// Rows of a history that one statement deletes, in some hundred milliseconds.
const GC_ROWS: i64 = 50_000;

/// Moves a generation from the position at which it was loaded to the last event of the batch. Returns false, and changes
/// nothing, when the generation is no longer at that position, or another rebuild has resumed it.
pub async fn advance(database: impl PgExecutor<'_>, from: &Generation, delta: &BatchDelta) -> sqlx::Result<bool> {
    let BatchDelta { totals, snapshots, history, purchase_count, latest, last } = delta;
    let to = last.ok_or_else(|| sqlx::Error::Protocol("no event to advance to".to_owned()))?;
    let sold: Vec<_> = history
        .minutes
        .iter()
        .flat_map(|minute| License::ALL.map(|license| (minute.begins_at, license, minute.sold.of(license))))
        .filter(|(_, _, sold)| sold.sales_count > 0)
        .collect();
    let snapshots: Vec<_> = snapshots
        .iter()
        .flat_map(|snapshot| License::ALL.map(|license| (snapshot, license, snapshot.totals.of(license))))
        .collect();
    let (_, advanced): (Option<bool>, bool) = sqlx::query_as(include_str!("sql/advance.sql"))
        .bind(from.number)
        .bind(from.live)
        .bind(from.last.position.get())
        .bind(to.position.get())
        .bind(to.recorded_at)
        .bind(License::ALL.map(License::name))
        .bind(License::ALL.map(|license| totals.of(license).sales_count))
        .bind(License::ALL.map(|license| totals.of(license).revenue.amount_minor()))
        .bind(License::ALL.map(|license| totals.of(license).revenue.currency().code()))
        .bind(sold.iter().map(|(begins_at, ..)| *begins_at).collect::<Vec<_>>())
        .bind(sold.iter().map(|(_, license, _)| license.name()).collect::<Vec<_>>())
        .bind(sold.iter().map(|(.., sold)| sold.sales_count).collect::<Vec<_>>())
        .bind(sold.iter().map(|(.., sold)| sold.revenue.amount_minor()).collect::<Vec<_>>())
        .bind(sold.iter().map(|(.., sold)| sold.revenue.currency().code()).collect::<Vec<_>>())
        .bind(history.resets.iter().map(|reset| reset.position.get()).collect::<Vec<_>>())
        .bind(history.resets.iter().map(|reset| reset.reset_at).collect::<Vec<_>>())
        .bind(history.resets.iter().map(|reset| reset.reason.as_deref()).collect::<Vec<_>>())
        .bind(snapshots.iter().map(|(snapshot, ..)| snapshot.position.get()).collect::<Vec<_>>())
        .bind(snapshots.iter().map(|(snapshot, ..)| snapshot.as_of).collect::<Vec<_>>())
        .bind(snapshots.iter().map(|(_, license, _)| license.name()).collect::<Vec<_>>())
        .bind(snapshots.iter().map(|(.., total)| total.sales_count).collect::<Vec<_>>())
        .bind(snapshots.iter().map(|(.., total)| total.revenue.amount_minor()).collect::<Vec<_>>())
        .bind(snapshots.iter().map(|(.., total)| total.revenue.currency().code()).collect::<Vec<_>>())
        .bind(purchase_count)
        .bind(latest.iter().map(|purchase| purchase.position.get()).collect::<Vec<_>>())
        .bind(latest.iter().map(|purchase| purchase.purchased_at).collect::<Vec<_>>())
        .bind(latest.iter().map(|purchase| purchase.license.name()).collect::<Vec<_>>())
        .bind(latest.iter().map(|purchase| purchase.price.amount_minor()).collect::<Vec<_>>())
        .bind(latest.iter().map(|purchase| purchase.price.currency().code()).collect::<Vec<_>>())
        .bind(to.event_id.map(EventId::as_uuid))
        .bind(from.attempt)
        .fetch_one(database)
        .await?;
    Ok(advanced)
}

/// The newest purchases of a generation as they are stored, for comparison; `None` when it is no longer at that position.
pub async fn stored_latest(
    database: impl PgExecutor<'_>,
    generation: &Generation,
) -> sqlx::Result<Option<BTreeSet<String>>> {
    let rows: BTreeSet<String> = sqlx::query_scalar(
        "select concat_ws(' ', projection.purchase_count, latest.purchase_count, entry)
         from projection left join latest_purchases as latest using (generation)
         left join unnest(positions, purchased_at, licenses, amounts_minor, currencies) with ordinality as entry on true
         where generation = $1 and projection.position = $2",
    )
    .bind(generation.number)
    .bind(generation.last.position.get())
    .fetch_all(database)
    .await?
    .into_iter()
    .collect();
    Ok((!rows.is_empty()).then_some(rows))
}

/// Sales and minor units by licence, summed over the history and the snapshots of a generation, as texts: a tampered sum may be any number.
pub async fn past_sums(database: impl PgExecutor<'_>, generation: i64) -> sqlx::Result<BTreeSet<String>> {
    let sums = sqlx::query_scalar(
        "select concat_ws(' ', license, sum(sales_count), sum(revenue_minor))
         from (
             select license, sales_count, revenue_minor from history_bucket where generation = $1 and minutes = 15
             union all
             select license, sales_count, revenue_minor from totals_snapshot where generation = $1
         ) as past
         group by license having sum(sales_count) <> 0 or sum(revenue_minor) <> 0",
    );
    Ok(sums.bind(generation).fetch_all(database).await?.into_iter().collect())
}

/// Records that the log has just ended at the live position, so that queries can tell how old their totals are. Returns false
/// when the live generation is another one by now, or at another position.
pub async fn confirm(database: impl PgExecutor<'_>, live: &Generation) -> sqlx::Result<bool> {
    let confirmed = sqlx::query(
        "update projection set confirmed_at = clock_timestamp() where generation = $1 and live and position = $2",
    )
    .bind(live.number)
    .bind(live.last.position.get())
    .execute(database)
    .await?;
    Ok(confirmed.rows_affected() == 1)
}

/// Locks the generation of an interrupted rebuild until the transaction ends, begins the next attempt, and returns the projection
/// version of the generation. Waits for the last statement of a killed rebuild, which the next statement of the transaction sees. One that
/// arrives later changes nothing.
pub async fn lock_interrupted(transaction: &mut PgConnection) -> sqlx::Result<Option<i32>> {
    sqlx::query_scalar("update projection set attempt = attempt + 1 where not live returning projection_version")
        .fetch_optional(transaction)
        .await
}

/// Starts the next generation, in place of that of an interrupted rebuild. Within the caller's transaction.
pub async fn start_building(transaction: &mut PgConnection) -> sqlx::Result<Generation> {
    sqlx::query("delete from projection where not live").execute(&mut *transaction).await?;
    let start = "insert into projection (live, projection_version, history_position) values (false, $1, 0)
                 returning generation";
    let number = sqlx::query_scalar(start).bind(PROJECTION_VERSION).fetch_one(transaction).await?;
    Ok(Generation { number, live: false, attempt: 0, last: LastEvent::START, totals: Totals::default() })
}

/// Removes the built generation. Returns false when another rebuild has resumed it.
pub async fn remove_built(database: impl PgExecutor<'_>, built: &Generation) -> sqlx::Result<bool> {
    let removed = sqlx::query("delete from projection where generation = $1 and not live and attempt = $2")
        .bind(built.number)
        .bind(built.attempt)
        .execute(database)
        .await?;
    Ok(removed.rows_affected() == 1)
}

/// Makes the built generation live and removes the one before. Within the caller's transaction.
pub async fn switch(transaction: &mut PgConnection, live: &Generation, built: &Generation) -> sqlx::Result<bool> {
    let removed: Option<DateTime<Utc>> = sqlx::query_scalar(
        "delete from projection where generation = $1 and live and position = $2 returning confirmed_at",
    )
    .bind(live.number)
    .bind(live.last.position.get())
    .fetch_optional(&mut *transaction)
    .await?;
    // The new generation is at the same position, so the confirmation holds for it as well.
    let switched = sqlx::query(
        "update projection set live = true, confirmed_at = coalesce($3, confirmed_at)
         where generation = $1 and not live and position = $2 and attempt = $4",
    )
    .bind(built.number)
    .bind(built.last.position.get())
    .bind(removed)
    .bind(built.attempt)
    .execute(&mut *transaction)
    .await?;
    sqlx::query("select pg_notify('totals_changed', $1::text)")
        .bind(built.last.position.get())
        .execute(transaction)
        .await?;
    Ok(removed.is_some() && switched.rows_affected() == 1)
}

/// Deletes the histories of removed generations, some rows at a time.
pub async fn gc(database: &mut PgConnection) -> sqlx::Result<()> {
    for delete in [
        "delete from history_bucket where ctid = any(array(
             select ctid from history_bucket where generation not in (select generation from projection) limit $1))",
        "delete from history_reset where ctid = any(array(
             select ctid from history_reset where generation not in (select generation from projection) limit $1))",
    ] {
        while sqlx::query(delete).bind(GC_ROWS).execute(&mut *database).await?.rows_affected() > 0 {}
    }
    Ok(())
}
