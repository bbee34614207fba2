//! The event log as its readers see it: in position order, without a hole.

use std::{borrow::Cow, fmt};

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sqlx::{AssertSqlSafe, PgExecutor, Row, postgres::PgRow};
use uuid::Uuid;

use crate::{
    event::{DecodeError, Event, EventId, EventType, Metadata},
    scan,
};

/// A place in the log: 1 for the first event; 0 is the place before it.
#[derive(
    Clone, Copy, Debug, Default, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, utoipa::ToSchema,
)]
#[serde(try_from = "i64", into = "i64")]
#[schema(value_type = i64, minimum = 0)]
pub struct Position(i64);

/// Positions count from 0.
#[derive(Debug, thiserror::Error)]
#[error("a position is a whole number from 0")]
pub struct NegativePosition;

impl Position {
    pub const START: Self = Self(0);

    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// The place that many events further on.
    #[must_use]
    pub const fn plus(self, events: i64) -> Self {
        Self(self.0.saturating_add(events))
    }

    pub const fn get(self) -> i64 {
        self.0
    }

    /// The same number as JetStream counts: a stream sequence equals the position.
    pub const fn as_sequence(self) -> u64 {
        self.0.cast_unsigned()
    }

    pub fn from_sequence(sequence: u64) -> Self {
        Self(i64::try_from(sequence).expect("JetStream counts from 1 and has not published 2^63 messages"))
    }
}

impl TryFrom<i64> for Position {
    type Error = NegativePosition;

    fn try_from(position: i64) -> Result<Self, NegativePosition> {
        if position < 0 { Err(NegativePosition) } else { Ok(Self(position)) }
    }
}

impl From<Position> for i64 {
    fn from(position: Position) -> Self {
        position.0
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An event as the log holds it. Its data stays as it was written until somebody asks what it means.
#[derive(Clone, Debug)]
pub struct RecordedEvent {
    pub position: Position,
    pub event_id: EventId,
    pub recorded_at: DateTime<Utc>,
    pub event_type: Cow<'static, str>,
    pub schema_version: i16,
    pub data: Box<RawValue>,
    pub metadata: Metadata,
}

impl RecordedEvent {
    pub fn decode(&self) -> Result<Event, DecodeError> {
        Event::decode(&self.event_type, self.schema_version, self.data.get())
    }

    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        let metadata: Option<String> = row.try_get("metadata")?;
        Ok(Self {
            position: Position(row.try_get("position")?),
            event_id: row.try_get::<Uuid, _>("event_id")?.into(),
            recorded_at: timestamp(row, "recorded_at")?,
            event_type: Cow::Owned(row.try_get("event_type")?),
            schema_version: row.try_get("schema_version")?,
            data: RawValue::from_string(row.try_get("data")?).map_err(decode_error)?,
            metadata: match metadata {
                Some(json) => serde_json::from_str(&json).map_err(decode_error)?,
                None => Metadata::default(),
            },
        })
    }
}

/// A time of the database, which knows more of them than chrono does: sqlx would panic at `infinity`.
pub fn timestamp(row: &PgRow, column: &str) -> sqlx::Result<DateTime<Utc>> {
    scan::timestamp(row.try_get_unchecked(column)?).ok_or("a time beyond all times").map_err(decode_error)
}

fn decode_error(reason: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> sqlx::Error {
    sqlx::Error::Decode(reason.into())
}

/// Why the log could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("the event store cannot be read: {0}")]
    Database(#[from] sqlx::Error),
    #[error("the event at position {position} cannot be read: {reason}")]
    Unreadable { position: Position, reason: sqlx::Error },
    /// Positions are gap-free by construction, so this is somebody's interference, and an alarm.
    #[error("the event log has a hole: position {expected} is missing, {found} follows")]
    Hole { expected: Position, found: Position },
    /// The log was restored from a backup, or it is another one.
    #[error("the event log ends at position {end}, before position {after} up to which it was read")]
    CutOff { end: Position, after: Position },
}

impl ReadError {
    /// Whether it is the log itself that is wrong, rather than the way to it.
    pub const fn is_alarm(&self) -> bool {
        match self {
            Self::Unreadable { .. } | Self::Hole { .. } | Self::CutOff { .. } => true,
            Self::Database(error) => matches!(error, sqlx::Error::Decode(_) | sqlx::Error::ColumnDecode { .. }),
        }
    }
}

/// The next events after a position, at most `limit` of them; fewer only at the end of the log.
pub async fn read_after(
    store: impl PgExecutor<'_>,
    after: Position,
    limit: usize,
) -> Result<Vec<RecordedEvent>, ReadError> {
    let rows = sqlx::query(
        "select position, event_id, recorded_at, event_type, schema_version, data::text, metadata::text
         from event where position > $1 order by position limit $2",
    )
    .bind(after.get())
    .bind(i64::try_from(limit).unwrap_or(i64::MAX))
    .fetch_all(store)
    .await?;
    let mut expected = after;
    let mut events = Vec::with_capacity(rows.len());
    for row in &rows {
        expected = expected.next();
        let found = Position(row.try_get("position")?);
        if found != expected {
            return Err(ReadError::Hole { expected, found });
        }
        let event = RecordedEvent::from_row(row);
        events.push(event.map_err(|reason| ReadError::Unreadable { position: found, reason })?);
    }
    Ok(events)
}

/// The events of one type after a position, up to and with another one, at most `limit` of them. Whether the log has a
/// hole cannot be told from them.
pub async fn read_type(
    store: impl PgExecutor<'_>,
    event_type: EventType,
    after: Position,
    until: Position,
    limit: usize,
) -> Result<Vec<RecordedEvent>, sqlx::Error> {
    sqlx::query(AssertSqlSafe(select_type(event_type)))
        .bind(after.get())
        .bind(until.get())
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .fetch_all(store)
        .await?
        .iter()
        .map(RecordedEvent::from_row)
        .collect()
}

/// The statement of [`read_type`]; public for the test that looks at its plan. The type is no parameter but part of the
/// text, so that the planner sees that the index over the rare types holds all that is asked for.
pub fn select_type(event_type: EventType) -> String {
    format!(
        "select position, event_id, recorded_at, event_type, schema_version, data::text, metadata::text
         from event where event_type = '{}' and position > $1 and position <= $2 order by position limit $3",
        event_type.name()
    )
}

/// The last events of one type up to and with a position, the newest first.
pub async fn read_last(
    store: impl PgExecutor<'_>,
    event_type: EventType,
    until: Position,
    limit: usize,
) -> Result<Vec<RecordedEvent>, sqlx::Error> {
    sqlx::query(
        "select position, event_id, recorded_at, event_type, schema_version, data::text, metadata::text
         from event where event_type = $1 and position <= $2 order by position desc limit $3",
    )
    .bind(event_type.name())
    .bind(until.get())
    .bind(i64::try_from(limit).unwrap_or(i64::MAX))
    .fetch_all(store)
    .await?
    .iter()
    .map(RecordedEvent::from_row)
    .collect()
}

/// The last position that was recorded before a time, to the microsecond; 0 when none was.
pub async fn last_before(store: impl PgExecutor<'_>, time: DateTime<Utc>) -> Result<Position, sqlx::Error> {
    // The log has microseconds, and the driver cuts off the rest: what lies between two of them counts as the later one.
    let time = time.checked_add_signed(TimeDelta::nanoseconds(999)).unwrap_or(time);
    let position = sqlx::query_scalar(include_str!("sql/last_before.sql")).bind(time).fetch_one(store).await?;
    Ok(Position(position))
}

/// One event by its position.
pub async fn read_at(store: impl PgExecutor<'_>, position: Position) -> Result<Option<RecordedEvent>, sqlx::Error> {
    sqlx::query(
        "select position, event_id, recorded_at, event_type, schema_version, data::text, metadata::text
         from event where position = $1",
    )
    .bind(position.get())
    .fetch_optional(store)
    .await?
    .map(|row| RecordedEvent::from_row(&row))
    .transpose()
}

/// One event by its id.
pub async fn read_by_id(store: impl PgExecutor<'_>, id: EventId) -> Result<Option<RecordedEvent>, sqlx::Error> {
    sqlx::query(
        "select position, event_id, recorded_at, event_type, schema_version, data::text, metadata::text
         from event where event_id = $1",
    )
    .bind(id.as_uuid())
    .fetch_optional(store)
    .await?
    .map(|row| RecordedEvent::from_row(&row))
    .transpose()
}

/// The position of the last event in the log.
pub async fn head(store: impl PgExecutor<'_>) -> Result<Position, sqlx::Error> {
    let position = sqlx::query_scalar("select position from head").fetch_one(store).await?;
    Ok(Position(position))
}
