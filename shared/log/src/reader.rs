//! Events of the log in position order, without a gap.

use std::collections::HashMap;

use chrono::{DateTime, TimeDelta, Utc};
use contract::{
    event::{EventId, EventType},
    position::Position,
    recorded_event::RecordedEvent,
};
use sqlx::{AssertSqlSafe, PgExecutor, PgPool, Row, postgres::PgRow};
use uuid::Uuid;

use crate::{error::ReadError, last_event::LastEvent, row};

/// Selects the columns that [`from_row`] reads.
macro_rules! select {
    ($rest:literal) => {
        concat!(
            "select position, event_id, recorded_at, event_type, schema_version, data::text, metadata::text from event ",
            $rest
        )
    };
}

fn from_row(row: &PgRow) -> sqlx::Result<RecordedEvent> {
    let event = RecordedEvent {
        position: row::position(row, "position")?,
        event_id: row.try_get::<Uuid, _>("event_id")?.into(),
        recorded_at: row::timestamp(row, "recorded_at")?,
        schema_version: row.try_get("schema_version")?,
        event_type: row.try_get("event_type")?,
        data: row.try_get("data")?,
        metadata: row.try_get("metadata")?,
    };
    // An event whose metadata this system did not write is unreadable, even for readers that do not use the metadata.
    event.decode_metadata().map_err(row::decode_error)?;
    Ok(event)
}

/// The next events after a position, at most `limit` of them; fewer only at the end of the log.
pub async fn read_after(
    store: impl PgExecutor<'_>,
    after: Position,
    limit: usize,
) -> Result<Vec<RecordedEvent>, ReadError> {
    let rows = sqlx::query(select!("where position > $1 order by position limit $2"))
        .bind(after.get())
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .fetch_all(store)
        .await?;
    let mut expected = after;
    let mut events = Vec::with_capacity(rows.len());
    for row in &rows {
        expected = expected.next();
        let found = row::position(row, "position")?;
        if found != expected {
            return Err(ReadError::Gap { expected, found });
        }
        let event = from_row(row);
        events.push(event.map_err(|reason| ReadError::Unreadable { position: found, reason })?);
    }
    Ok(events)
}

/// The next events after one that the log must still have, as [`read_after`]. One statement reads that event and the next ones, so
/// the log cannot be replaced in between.
pub async fn read_following(store: &PgPool, last: &LastEvent, limit: usize) -> Result<Vec<RecordedEvent>, ReadError> {
    let Some(before) = last.before() else {
        return read_after(store, last.position, limit).await;
    };
    let mut events = read_after(store, before, limit + 1).await?;
    if events.is_empty() {
        return Err(ReadError::CutOff { end: head(store).await?, after: last.position });
    }
    last.verify(&events.remove(0))?;
    Ok(events)
}

/// The events of one type after a position, up to another one inclusive, at most `limit` of them. They do not show
/// whether the log has a gap.
pub async fn read_type(
    store: impl PgExecutor<'_>,
    event_type: EventType,
    after: Position,
    until: Position,
    limit: usize,
) -> Result<Vec<RecordedEvent>, ReadError> {
    let rows = sqlx::query(AssertSqlSafe(select_type(event_type)))
        .bind(after.get())
        .bind(until.get())
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .fetch_all(store)
        .await?;
    Ok(rows.iter().map(from_row).collect::<Result<_, _>>()?)
}

/// The statement of [`read_type`]; public for the test that looks at its plan. The type is no parameter but part of the
/// text, so that the planner sees that the index over the rare types holds all that is asked for.
pub fn select_type(event_type: EventType) -> String {
    format!(
        select!("where event_type = '{}' and position > $1 and position <= $2 order by position limit $3"),
        event_type.name()
    )
}

/// The last position that was recorded before a time, to the microsecond; 0 when none was.
pub async fn last_before(store: impl PgExecutor<'_>, time: DateTime<Utc>) -> Result<Position, ReadError> {
    // The log has microseconds and the driver truncates: a time between two of them counts as the later one.
    let time = time.checked_add_signed(TimeDelta::nanoseconds(999)).unwrap_or(time);
    let row = sqlx::query(include_str!("last_before.sql")).bind(time).fetch_one(store).await?;
    Ok(row::position(&row, "low")?)
}

/// One event by its position.
///
/// A row outside of the log, before its first or after its last position, is no event: projections and the tree never include it. Only a
/// superuser could have inserted it.
pub async fn read_at(store: impl PgExecutor<'_>, position: Position) -> Result<Option<RecordedEvent>, ReadError> {
    let row = sqlx::query(select!("where position = $1 and position between 1 and (select position from head)"))
        .bind(position.get())
        .fetch_optional(store)
        .await?;
    Ok(row.as_ref().map(from_row).transpose()?)
}

/// The first of these events that the log does not have at its position.
pub async fn first_missing(store: impl PgExecutor<'_>, events: &[LastEvent]) -> Result<Option<Position>, ReadError> {
    if events.is_empty() {
        return Ok(None);
    }
    let positions: Vec<_> = events.iter().map(|event| event.position.get()).collect();
    let rows = sqlx::query("select position, event_id from event where position = any($1)")
        .bind(positions)
        .fetch_all(store)
        .await?;
    let mut stored = HashMap::new();
    for row in &rows {
        stored.insert(row::position(row, "position")?, EventId::from(row.try_get::<Uuid, _>("event_id")?));
    }
    let missing = events.iter().find(|event| event.event_id.is_some_and(|id| stored.get(&event.position) != Some(&id)));
    Ok(missing.map(|event| event.position))
}

/// One event by its id, if it is in the log, as for [`read_at`].
pub async fn read_by_id(store: impl PgExecutor<'_>, id: EventId) -> Result<Option<RecordedEvent>, ReadError> {
    let row = sqlx::query(select!("where event_id = $1 and position between 1 and (select position from head)"))
        .bind(id.as_uuid())
        .fetch_optional(store)
        .await?;
    Ok(row.as_ref().map(from_row).transpose()?)
}

/// The position of the last event in the log.
pub async fn head(store: impl PgExecutor<'_>) -> Result<Position, ReadError> {
    let row = sqlx::query("select position from head").fetch_one(store).await?;
    Ok(row::position(&row, "position")?)
}

/// Whether there is no event, wherever the head is.
pub async fn is_empty(store: impl PgExecutor<'_>) -> Result<bool, ReadError> {
    Ok(sqlx::query_scalar("select not exists (select from event)").fetch_one(store).await?)
}

/// An event that no reader of the log sees, or a head that is not that of the log; with the first position that is concerned, if
/// it is one.
pub async fn outside_of_the_log(store: impl PgExecutor<'_>) -> sqlx::Result<Option<(Option<Position>, String)>> {
    let (first, last, heads, head, is_ahead): (Option<i64>, Option<i64>, i64, Option<i64>, Option<bool>) =
        sqlx::query_as(include_str!("outside_of_the_log.sql")).fetch_one(store).await?;
    let (first, last) = (first.unwrap_or(1), last.unwrap_or(0));
    Ok(match head {
        _ if first < 1 => {
            Some((None, format!("there is an event at position {first}, before the beginning of the log")))
        }
        Some(head) if heads == 1 && head != last => {
            let position = head.min(last).try_into().unwrap_or(Position::START).next();
            Some((Some(position), format!("the log ends with position {last}, and its head is at position {head}")))
        }
        Some(_) if heads == 1 && is_ahead == Some(true) => {
            Some((None, "the time of the head is neither that of the last event nor the present".to_owned()))
        }
        Some(_) if heads == 1 => None,
        _ => Some((None, format!("the event store has {heads} heads of the log instead of one"))),
    })
}
