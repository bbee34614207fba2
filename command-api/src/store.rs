//! The SQL of the log's only way in.

use chrono::{DateTime, Utc};
use contract::{
    event::{DecodeError, Event},
    position::Position,
    recorded_event::NewEvent,
};
use event_log::row::{position, timestamp};
use sqlx::{PgConnection, Row, ValueRef, error::DatabaseError, postgres::PgRow};

/// The log's event under the id of a new one. After a retry that is the event of the first attempt.
#[derive(Debug)]
pub struct Recorded {
    pub position: Position,
    pub recorded_at: DateTime<Utc>,
    pub event: Result<Event, DecodeError>,
}

/// What became of a batch.
#[derive(Debug)]
pub enum Appended {
    /// All of it was new: the events have the positions from `first` on.
    AllNew { first: Position, recorded_at: DateTime<Utc> },
    /// What the log holds under each of the ids; `None` for a row outside of the counted log, as only a superuser inserts one.
    SomeKnown(Vec<Option<Recorded>>),
}

/// SQLSTATE of a refusal because a clock is wrong: the events would be recorded in the future, and so would all later ones.
const WRONG_CLOCK: &str = "SC001";

/// Whether the database has refused to append because its clock is ahead.
pub fn is_wrong_clock(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(DatabaseError::code).is_some_and(|code| code == WRONG_CLOCK)
}

/// The time of the last event; the epoch while the log is empty.
pub async fn last_recorded_at(connection: &mut PgConnection) -> sqlx::Result<DateTime<Utc>> {
    timestamp(&sqlx::query("select recorded_at from head").fetch_one(connection).await?, "recorded_at")
}

/// Appends a batch in one statement, which takes effect as a whole or not at all. Events whose ids are in the log
/// already are not appended again, so a batch whose outcome is unknown may simply be handed in once more.
pub async fn append<'a>(
    connection: &mut PgConnection,
    batch: impl ExactSizeIterator<Item = &'a NewEvent> + Clone,
) -> sqlx::Result<Appended> {
    let rows = sqlx::query(
        "select stored_position, stored_at, stored_type, stored_version, stored_data
         from append_events($1, $2, $3, $4, $5, $6)",
    )
    .bind(batch.clone().map(|new| new.event_id.as_uuid()).collect::<Vec<_>>())
    .bind(batch.clone().map(|new| new.event_type).collect::<Vec<_>>())
    .bind(batch.clone().map(|new| new.schema_version).collect::<Vec<_>>())
    .bind(batch.clone().map(|new| new.data.as_str()).collect::<Vec<_>>())
    .bind(batch.clone().map(|new| new.metadata.as_deref()).collect::<Vec<_>>())
    .bind(Utc::now())
    .fetch_all(&mut *connection)
    .await?;
    let all_new = rows.first().is_some_and(|row| row.try_get_raw("stored_type").is_ok_and(|stored| stored.is_null()));
    match &rows[..] {
        [first] if all_new => Ok(Appended::AllNew {
            first: position(first, "stored_position")?,
            recorded_at: timestamp(first, "stored_at")?,
        }),
        rows if rows.len() == batch.len() => {
            let head: i64 = sqlx::query_scalar("select position from head").fetch_one(connection).await?;
            Ok(Appended::SomeKnown(rows.iter().map(|row| recorded(row, head)).collect::<Result<_, _>>()?))
        }
        rows => {
            let message = format!("append_events answered {} rows to a batch of {}", rows.len(), batch.len());
            Err(sqlx::Error::Protocol(message))
        }
    }
}

fn recorded(row: &PgRow, head: i64) -> sqlx::Result<Option<Recorded>> {
    if !(1..=head).contains(&row.try_get("stored_position")?) {
        return Ok(None);
    }
    Ok(Some(Recorded {
        position: position(row, "stored_position")?,
        recorded_at: timestamp(row, "stored_at")?,
        event: Event::decode(row.try_get("stored_type")?, row.try_get("stored_version")?, row.try_get("stored_data")?),
    }))
}
