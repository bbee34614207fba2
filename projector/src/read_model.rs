//! The read model: totals, history, newest purchases and position, which change together or not at all.
//!
//! The database keeps one row per generation. Queries see the live one; a rebuild fills another beside it.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use contract::{catalogue::License, position::Position, totals::Totals};
use sqlx::{PgConnection, PgExecutor, Row};

pub use event_log::read_model::{Generation, load_building, load_live};

use crate::tally::Tally;

/// By which rules this program counts. Raise it with every change after which the same events make another read model: a
/// rebuild goes on from what an interrupted one has counted only if that was by the same rules.
pub const PROJECTION_VERSION: i32 = 3;

/// Rows of a history that are removed at once: some hundred milliseconds' worth.
const SWEPT_AT_ONCE: i64 = 50_000;

/// Moves a generation from the checkpoint at which it was loaded to the last event of the tally. False, and nothing is changed,
/// when it no longer stands there.
pub async fn advance(database: impl PgExecutor<'_>, from: &Generation, tally: &Tally) -> sqlx::Result<bool> {
    let Tally { totals, snapshots, history, purchase_count, latest, last } = tally;
    let (to, as_of) = last.ok_or_else(|| sqlx::Error::Protocol("no event to advance to".to_owned()))?;
    let sold: Vec<_> = history
        .minutes
        .iter()
        .flat_map(|minute| License::ALL.map(|license| (minute.begins_at, license, minute.sold.of(license))))
        .filter(|(_, _, sold)| sold.sales_count > 0)
        .collect();
    let kept: Vec<_> = snapshots
        .iter()
        .flat_map(|snapshot| License::ALL.map(|license| (snapshot, license, snapshot.totals.of(license))))
        .collect();
    let row = sqlx::query(include_str!("sql/advance.sql"))
        .bind(from.number)
        .bind(from.live)
        .bind(from.checkpoint.get())
        .bind(to.get())
        .bind(as_of)
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
        .bind(kept.iter().map(|(snapshot, ..)| snapshot.position.get()).collect::<Vec<_>>())
        .bind(kept.iter().map(|(snapshot, ..)| snapshot.as_of).collect::<Vec<_>>())
        .bind(kept.iter().map(|(_, license, _)| license.name()).collect::<Vec<_>>())
        .bind(kept.iter().map(|(.., total)| total.sales_count).collect::<Vec<_>>())
        .bind(kept.iter().map(|(.., total)| total.revenue.amount_minor()).collect::<Vec<_>>())
        .bind(kept.iter().map(|(.., total)| total.revenue.currency().code()).collect::<Vec<_>>())
        .bind(purchase_count)
        .bind(latest.iter().map(|purchase| purchase.position.get()).collect::<Vec<_>>())
        .bind(latest.iter().map(|purchase| purchase.purchased_at).collect::<Vec<_>>())
        .bind(latest.iter().map(|purchase| purchase.license.name()).collect::<Vec<_>>())
        .bind(latest.iter().map(|purchase| purchase.price.amount_minor()).collect::<Vec<_>>())
        .bind(latest.iter().map(|purchase| purchase.price.currency().code()).collect::<Vec<_>>())
        .fetch_one(database)
        .await?;
    row.try_get("advanced")
}

/// The newest purchases of a generation as they are stored, for comparison; `None` when it is no longer at that position.
pub async fn stored_latest(
    database: impl PgExecutor<'_>,
    generation: &Generation,
) -> sqlx::Result<Option<BTreeSet<String>>> {
    let rows: BTreeSet<String> = sqlx::query_scalar(
        "select concat_ws(' ', purchase_count, slot, latest.position, purchased_at, license, amount_minor, currency)
         from projection left join latest_purchase as latest using (generation)
         where generation = $1 and projection.position = $2",
    )
    .bind(generation.number)
    .bind(generation.checkpoint.get())
    .fetch_all(database)
    .await?
    .into_iter()
    .collect();
    Ok((!rows.is_empty()).then_some(rows))
}

/// Notes that the log held nothing beyond the checkpoint just now, so that queries can tell how old their totals are.
/// False when the live generation is another one by now, or stands elsewhere.
pub async fn confirm(database: impl PgExecutor<'_>, live: &Generation) -> sqlx::Result<bool> {
    let confirmed = sqlx::query(
        "update projection set confirmed_at = clock_timestamp() where generation = $1 and live and position = $2",
    )
    .bind(live.number)
    .bind(live.checkpoint.get())
    .execute(database)
    .await?;
    Ok(confirmed.rows_affected() == 1)
}

/// What says whether a generation that was left behind can be gone on from.
#[derive(Clone, Copy, Debug)]
pub struct LeftBehind {
    pub projection_version: i32,
    /// Time of the event at its checkpoint.
    pub as_of: DateTime<Utc>,
}

/// Finds the generation that a rebuild has left behind, and keeps it as it is until the transaction ends. Waits for what a killed
/// rebuild still has under way: the next statement of the transaction sees it.
pub async fn lock_left_behind(transaction: &mut PgConnection) -> sqlx::Result<Option<LeftBehind>> {
    let row = sqlx::query("select projection_version, as_of from projection where not live for update")
        .fetch_optional(transaction)
        .await?;
    row.map(|row| {
        Ok(LeftBehind { projection_version: row.try_get("projection_version")?, as_of: row.try_get("as_of")? })
    })
    .transpose()
}

/// Starts the next generation beside the live one, in place of one that was left behind. Within the caller's transaction.
pub async fn start_building(transaction: &mut PgConnection) -> sqlx::Result<Generation> {
    sqlx::query("delete from projection where not live").execute(&mut *transaction).await?;
    let start = "insert into projection (live, projection_version, history_position) values (false, $1, 0)
                 returning generation";
    let number = sqlx::query_scalar(start).bind(PROJECTION_VERSION).fetch_one(transaction).await?;
    Ok(Generation { number, live: false, checkpoint: Position::START, totals: Totals::default() })
}

/// Removes a generation that was built. False when another rebuild has gone on with it.
pub async fn remove_built(database: impl PgExecutor<'_>, built: &Generation) -> sqlx::Result<bool> {
    let removed = sqlx::query("delete from projection where generation = $1 and not live and position = $2")
        .bind(built.number)
        .bind(built.checkpoint.get())
        .execute(database)
        .await?;
    Ok(removed.rows_affected() == 1)
}

/// Makes queries see the built generation instead of the live one, which is removed. Within the caller's transaction.
pub async fn switch(transaction: &mut PgConnection, live: &Generation, built: &Generation) -> sqlx::Result<bool> {
    let removed: Option<DateTime<Utc>> = sqlx::query_scalar(
        "delete from projection where generation = $1 and live and position = $2 returning confirmed_at",
    )
    .bind(live.number)
    .bind(live.checkpoint.get())
    .fetch_optional(&mut *transaction)
    .await?;
    // What is known about the end of the log is known about the new one as well.
    let switched = sqlx::query(
        "update projection set live = true, confirmed_at = coalesce($3, confirmed_at)
         where generation = $1 and not live and position = $2",
    )
    .bind(built.number)
    .bind(built.checkpoint.get())
    .bind(removed)
    .execute(&mut *transaction)
    .await?;
    sqlx::query("select pg_notify('totals_changed', $1::text)")
        .bind(built.checkpoint.get())
        .execute(transaction)
        .await?;
    Ok(removed.is_some() && switched.rows_affected() == 1)
}

/// Removes what is left of the histories of generations that are no more, some rows at a time.
pub async fn sweep(database: &mut PgConnection) -> sqlx::Result<()> {
    for sweep in [
        "delete from history_bucket where ctid = any(array(
             select ctid from history_bucket where generation not in (select generation from projection) limit $1))",
        "delete from history_reset where ctid = any(array(
             select ctid from history_reset where generation not in (select generation from projection) limit $1))",
    ] {
        while sqlx::query(sweep).bind(SWEPT_AT_ONCE).execute(&mut *database).await?.rows_affected() > 0 {}
    }
    Ok(())
}
