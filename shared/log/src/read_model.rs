//! The read model, for readers: its generations and their totals.

use contract::{
    catalogue::License,
    money::Money,
    position::Position,
    totals::{LicenseTotal, Totals},
};
use sqlx::{PgExecutor, Row, postgres::PgRow};

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

/// The generation beside the live one, which a rebuild is filling or has left behind.
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
        checkpoint: checkpoint.try_into().map_err(|error| sqlx::Error::Decode(Box::new(error)))?,
        totals: Totals::default(),
    };
    for row in &rows {
        set_from_row(&mut generation.totals, row)?;
    }
    Ok(Some(generation))
}

/// Whether the live generation has a history. One that was begun by a version that knew of none has none.
pub async fn has_history(database: impl PgExecutor<'_>) -> sqlx::Result<bool> {
    sqlx::query_scalar("select history_position is not null from projection where live").fetch_one(database).await
}

/// The read model holds a total that no projection of this version writes.
#[derive(Debug, thiserror::Error)]
#[error("the read model holds a total that this program does not know: {license}")]
struct UnknownTotal {
    license: String,
}

/// Takes over the total that a row of the read model holds; an outer join may have left it without one.
pub fn set_from_row(totals: &mut Totals, row: &PgRow) -> sqlx::Result<()> {
    let Some(license) = row.try_get::<Option<&str>, _>("license")? else { return Ok(()) };
    let unknown = || sqlx::Error::Decode(Box::new(UnknownTotal { license: license.to_owned() }));
    let license = License::by_name(license).ok_or_else(unknown)?;
    let revenue = Money::from_parts(row.try_get("revenue_minor")?, row.try_get("currency")?).ok_or_else(unknown)?;
    totals.set(license, LicenseTotal { sales_count: row.try_get("sales_count")?, revenue });
    Ok(())
}
