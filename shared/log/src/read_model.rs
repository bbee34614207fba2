//! The read model, for readers: its generations, their totals and their newest purchases.

use std::iter::zip;

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
    row::{decode_error, position, timestamp, to_position},
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

/// The newest purchases of a generation, including those before the last reset, the newest first; none if an outer join has left the row
/// no list.
pub fn latest_purchases(row: &PgRow) -> sqlx::Result<Vec<LatestPurchase>> {
    let Some(positions) = row.try_get::<Option<Vec<i64>>, _>("positions")? else { return Ok(Vec::new()) };
    let purchased_at: Vec<DateTime<Utc>> = row.try_get("purchased_at")?;
    let licenses: Vec<String> = row.try_get("licenses")?;
    let amounts: Vec<i64> = row.try_get("amounts_minor")?;
    let currencies: Vec<String> = row.try_get("currencies")?;
    let prices = zip(licenses, zip(amounts, currencies));
    zip(zip(positions, purchased_at), prices)
        .map(|((position, purchased_at), (license, (amount, currency)))| {
            let (license, price) = known(&license, amount, &currency)?;
            Ok(LatestPurchase { position: to_position(position)?, purchased_at, license, price })
        })
        .collect()
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
    known(license, row.try_get(amount)?, row.try_get("currency")?).map(Some)
}

fn known(license: &str, amount: i64, currency: &str) -> sqlx::Result<(License, Money)> {
    let unknown = || decode_error(Unknown { license: license.to_owned(), currency: currency.to_owned() });
    License::by_name(license).zip(Money::from_parts(amount, currency)).ok_or_else(unknown)
}
