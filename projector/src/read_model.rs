//! The read model: totals and checkpoint, which change together or not at all.
//!
//! The database keeps one row per generation. Queries see the live one; a rebuild fills another beside it.

use chrono::{DateTime, Utc};
use shared::{catalogue::License, event_log::Position, money::Money};
use sqlx::{PgConnection, PgExecutor, PgPool, Row};

use crate::totals::{LicenseTotal, Totals};

/// A generation of the read model, as far as it has come.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Generation {
    pub number: i64,
    pub live: bool,
    pub checkpoint: Position,
    pub totals: Totals,
}

/// The live generation.
pub async fn load_live(database: impl PgExecutor<'_>) -> sqlx::Result<Generation> {
    load(database, true).await?.ok_or(sqlx::Error::RowNotFound)
}

/// The generation that a rebuild is filling or has left behind.
pub async fn load_building(database: impl PgExecutor<'_>) -> sqlx::Result<Option<Generation>> {
    load(database, false).await
}

async fn load(database: impl PgExecutor<'_>, live: bool) -> sqlx::Result<Option<Generation>> {
    let rows = sqlx::query(
        "select generation, position, license, sales_count, revenue_minor, currency
         from projection left join license_total using (generation) where live = $1",
    )
    .bind(live)
    .fetch_all(database)
    .await?;
    let Some(first) = rows.first() else { return Ok(None) };
    let checkpoint: i64 = first.try_get("position")?;
    let mut generation = Generation {
        number: first.try_get("generation")?,
        live,
        checkpoint: checkpoint.try_into().map_err(decode_error)?,
        totals: Totals::default(),
    };
    for row in &rows {
        let Some(license) = row.try_get::<Option<&str>, _>("license")? else { continue };
        let unknown = || decode_error(UnknownTotal { license: license.to_owned() });
        let license = License::by_name(license).ok_or_else(unknown)?;
        let revenue = Money::from_parts(row.try_get("revenue_minor")?, row.try_get("currency")?).ok_or_else(unknown)?;
        generation.totals.set(license, LicenseTotal { sales_count: row.try_get("sales_count")?, revenue });
    }
    Ok(Some(generation))
}

#[derive(Debug, thiserror::Error)]
#[error("the read model holds a total that this program does not know: {license}")]
struct UnknownTotal {
    license: String,
}

fn decode_error(error: impl std::error::Error + Send + Sync + 'static) -> sqlx::Error {
    sqlx::Error::Decode(Box::new(error))
}

/// Moves a generation from the checkpoint at which it was loaded to `to`. False, and nothing is changed, when it no
/// longer stands there.
pub async fn advance(
    database: impl PgExecutor<'_>,
    from: &Generation,
    to: Position,
    as_of: DateTime<Utc>,
    totals: &Totals,
) -> sqlx::Result<bool> {
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
        .fetch_one(database)
        .await?;
    row.try_get("advanced")
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

/// Starts the next generation beside the live one, in place of one that was left behind.
pub async fn start_building(database: &PgPool) -> sqlx::Result<Generation> {
    let mut transaction = database.begin().await?;
    sqlx::query("delete from projection where not live").execute(&mut *transaction).await?;
    let number = sqlx::query_scalar("insert into projection (live) values (false) returning generation")
        .fetch_one(&mut *transaction)
        .await?;
    transaction.commit().await?;
    Ok(Generation { number, live: false, checkpoint: Position::START, totals: Totals::default() })
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
