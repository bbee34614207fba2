//! The totals as they were: from the last snapshot before, and the events since then.

use chrono::{DateTime, TimeDelta, Utc};
use contract::{event::DecodeError, money::OutOfRange, position::Position, totals::Totals};
use event_log::read_model::set_from_row;
use event_log::{self, ReadError, scan::scan};
use sqlx::{PgPool, Row};

use crate::totals::{CurrentMoney, decode_error};

/// Events that are added up behind a snapshot: half a second's worth. There are a hundred times less, unless the projection has
/// stopped for long.
const MAX_TAIL: i64 = 1_000_000;

/// Why the totals of then cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum PastError {
    #[error(transparent)]
    Log(#[from] ReadError),
    #[error("the read model cannot be read: {0}")]
    ReadModel(sqlx::Error),
    #[error("the read model is too far behind position {0}")]
    TooFarBehind(Position),
    #[error("the event at position {position} is not understood: {source}")]
    Decode { position: Position, source: DecodeError },
    #[error("the totals do not fit: {0}")]
    Add(#[from] OutOfRange),
}

/// The last position of which the totals of a time consist: what was recorded then, to the microsecond, counts.
pub async fn position_at(event_store: &PgPool, time: DateTime<Utc>) -> Result<Position, ReadError> {
    let behind = time.checked_add_signed(TimeDelta::microseconds(1)).unwrap_or(time);
    Ok(event_log::last_before(event_store, behind).await?)
}

/// Which generation of the read model tells the totals, and may tell others than the one before it.
pub async fn generation(read_model: &PgPool) -> Result<i64, PastError> {
    let generation = sqlx::query_scalar("select generation from projection where live").fetch_one(read_model).await;
    generation.map_err(PastError::ReadModel)
}

/// The totals at a position that the log has.
pub async fn totals_at(
    event_store: &PgPool,
    read_model: &PgPool,
    position: Position,
) -> Result<CurrentMoney, PastError> {
    let (after, mut as_of, mut totals) = snapshot(read_model, position).await.map_err(PastError::ReadModel)?;
    if position > after.plus(MAX_TAIL) {
        return Err(PastError::TooFarBehind(position));
    }
    let mut tail = scan(event_store, after, position).await?;
    while let Some(event) = tail.next().await? {
        let position = event.position;
        totals.apply(&event.decode().map_err(|source| PastError::Decode { position, source })?)?;
        as_of = event.recorded_at;
    }
    Ok(CurrentMoney::new(&totals, position, as_of)?)
}

/// Before the first event, it is the epoch.
async fn snapshot(read_model: &PgPool, position: Position) -> sqlx::Result<(Position, DateTime<Utc>, Totals)> {
    let rows = sqlx::query(include_str!("snapshot.sql")).bind(position.get()).fetch_all(read_model).await?;
    let first = rows.first().ok_or(sqlx::Error::RowNotFound)?;
    let mut totals = Totals::default();
    let Some(position) = first.try_get::<Option<i64>, _>("position")? else {
        return Ok((Position::START, DateTime::UNIX_EPOCH, totals));
    };
    for row in &rows {
        set_from_row(&mut totals, row)?;
    }
    Ok((position.try_into().map_err(decode_error)?, first.try_get("as_of")?, totals))
}
