//! The read model, for readers: its generations, their totals and their newest purchases.

use chrono::{DateTime, Utc};
use contract::{
    catalogue::License,
    money::Money,
    position::Position,
    totals::{LicenseTotal, Totals},
};
use sqlx::{PgExecutor, Row, postgres::PgRow};
use uuid::Uuid;

use crate::{
    last_event::LastEvent,
    row::{decode_error, position, timestamp},
};

/// Number of purchases that a generation keeps.
pub const LATEST_PURCHASES: usize = 100;

/// A generation of the read model, with its progress.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Generation {
    pub number: i64,
    pub live: bool,
    /// The attempt of a rebuild that it was loaded for: a later one resumes it with the next number.
    pub attempt: i32,
    /// The last event that it includes.
    pub last: LastEvent,
    pub totals: Totals,
}

/// The newest purchases of a generation, including those before the last reset.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LatestPurchases {
    /// Log position that the list reflects.
    pub position: Position,
    /// The newest first.
    pub purchases: Vec<LatestPurchase>,
}

/// A purchase without its id, which only its buyer knows.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LatestPurchase {
    pub position: Position,
    pub purchased_at: DateTime<Utc>,
    pub license: License,
    pub price: Money,
}

/// The live generation.
pub async fn load_live(database: impl PgExecutor<'_>) -> sqlx::Result<Generation> {
    load(database, true).await?.ok_or(sqlx::Error::RowNotFound)
}

/// The generation alongside the live one: the one that a rebuild fills, or that an interrupted rebuild left.
pub async fn load_building(database: impl PgExecutor<'_>) -> sqlx::Result<Option<Generation>> {
    load(database, false).await
}

async fn load(database: impl PgExecutor<'_>, live: bool) -> sqlx::Result<Option<Generation>> {
    let rows = sqlx::query(
        "select generation, attempt, position, as_of, event_id, license, sales_count, revenue_minor, currency
         from projection left join license_total using (generation) where live = $1",
    )
    .bind(live)
    .fetch_all(database)
    .await?;
    let Some(first) = rows.first() else { return Ok(None) };
    let mut generation = Generation {
        number: first.try_get("generation")?,
        live,
        attempt: first.try_get("attempt")?,
        last: LastEvent {
            position: position(first, "position")?,
            recorded_at: timestamp(first, "as_of")?,
            event_id: first.try_get::<Option<Uuid>, _>("event_id")?.map(Into::into),
        },
        totals: Totals::default(),
    };
    for row in &rows {
        set_from_row(&mut generation.totals, row)?;
    }
    Ok(Some(generation))
}

/// The live generation's newest purchases, at most [`LATEST_PURCHASES`].
pub async fn latest_purchases(database: impl PgExecutor<'_>) -> sqlx::Result<LatestPurchases> {
    let rows = sqlx::query(
        "select projection.position as reflected, latest.position, purchased_at, license, amount_minor, currency
         from projection left join latest_purchase as latest using (generation)
         where live order by latest.position desc",
    )
    .fetch_all(database)
    .await?;
    let first = rows.first().ok_or(sqlx::Error::RowNotFound)?;
    let purchases = rows.iter().filter_map(|row| purchase(row).transpose()).collect::<sqlx::Result<_>>()?;
    Ok(LatestPurchases { position: position(first, "reflected")?, purchases })
}

fn purchase(row: &PgRow) -> sqlx::Result<Option<LatestPurchase>> {
    let Some((license, price)) = license_and_money(row, "amount_minor")? else { return Ok(None) };
    Ok(Some(LatestPurchase {
        position: position(row, "position")?,
        purchased_at: row.try_get("purchased_at")?,
        license,
        price,
    }))
}

/// Sets the total that a row of the read model holds, if an outer join has left it one.
pub fn set_from_row(totals: &mut Totals, row: &PgRow) -> sqlx::Result<()> {
    if let Some((license, revenue)) = license_and_money(row, "revenue_minor")? {
        totals.set(license, LicenseTotal { sales_count: row.try_get("sales_count")?, revenue });
    }
    Ok(())
}

/// The read model holds a licence or a currency that no projection of this version writes.
#[derive(Debug, thiserror::Error)]
#[error("the read model has an unknown licence or currency: {license}, {currency}")]
struct Unknown {
    license: String,
    currency: String,
}

/// The licence and the amount of a row; `None` if an outer join has left it none.
pub fn license_and_money(row: &PgRow, amount: &str) -> sqlx::Result<Option<(License, Money)>> {
    let Some(license) = row.try_get::<Option<&str>, _>("license")? else { return Ok(None) };
    let currency: &str = row.try_get("currency")?;
    let money = Money::from_parts(row.try_get(amount)?, currency);
    let known = License::by_name(license).zip(money);
    let unknown = || decode_error(Unknown { license: license.to_owned(), currency: currency.to_owned() });
    known.map(Some).ok_or_else(unknown)
}
