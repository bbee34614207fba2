//! The SQL of the log's only way in.

use chrono::{DateTime, Utc};
use contract::{
    event::{DecodeError, EncodedEvent, Event, EventId, Metadata},
    position::Position,
    recorded_event::RecordedEvent,
};
use event_log::timestamp;
use sqlx::{PgConnection, Row, ValueRef, postgres::PgRow};

/// An event on its way into the log, encoded by whoever made it, so that the one writer does not have to.
#[derive(Debug)]
pub struct NewEvent {
    event_id: EventId,
    event: Event,
    encoded: EncodedEvent,
    metadata: Metadata,
}

impl NewEvent {
    pub fn new(event_id: EventId, event: Event, metadata: Metadata) -> Self {
        Self { event_id, encoded: event.encode(), event, metadata }
    }

    /// What became of it: as its command sees it, and as the readers of the log do.
    pub fn recorded(self, position: Position, recorded_at: DateTime<Utc>) -> (Recorded, RecordedEvent) {
        let EncodedEvent { event_type, schema_version, data } = self.encoded;
        let (event_type, event_id, metadata) = (event_type.into(), self.event_id, self.metadata);
        let recorded = Recorded { position, recorded_at, event: Ok(self.event) };
        (recorded, RecordedEvent { position, event_id, recorded_at, event_type, schema_version, data, metadata })
    }
}

/// What the log holds under the id of an event that was handed in. After a retry that is the first one's event.
#[derive(Debug)]
pub struct Recorded {
    pub position: Position,
    pub recorded_at: DateTime<Utc>,
    /// Not understood when a newer program stored it. That concerns whoever used its id, and nobody else of the batch.
    pub event: Result<Event, DecodeError>,
}

/// What became of a batch.
#[derive(Debug)]
pub enum Appended {
    /// All of it was new: the events have the positions from `first` on.
    AllNew { first: Position, recorded_at: DateTime<Utc> },
    /// What the log holds under each of the ids.
    SomeKnown(Vec<Recorded>),
}

/// Appends a batch in one statement, which takes effect as a whole or not at all. Events whose ids are in the log
/// already are not appended again, so a batch whose outcome is unknown may simply be handed in once more.
pub async fn append<'a>(
    connection: &mut PgConnection,
    batch: impl ExactSizeIterator<Item = &'a NewEvent> + Clone,
) -> sqlx::Result<Appended> {
    let rows = sqlx::query(
        "select stored_position, stored_at, stored_type, stored_version, stored_data
         from append_events($1, $2, $3, $4, $5)",
    )
    .bind(batch.clone().map(|new| new.event_id.as_uuid()).collect::<Vec<_>>())
    .bind(batch.clone().map(|new| new.encoded.event_type).collect::<Vec<_>>())
    .bind(batch.clone().map(|new| new.encoded.schema_version).collect::<Vec<_>>())
    .bind(batch.clone().map(|new| new.encoded.data.get()).collect::<Vec<_>>())
    .bind(batch.clone().map(|new| new.metadata.encode()).collect::<Vec<_>>())
    .fetch_all(connection)
    .await?;
    let all_new = rows.first().is_some_and(|row| row.try_get_raw("stored_type").is_ok_and(|stored| stored.is_null()));
    match &rows[..] {
        [first] if all_new => {
            Ok(Appended::AllNew { first: position(first)?, recorded_at: timestamp(first, "stored_at")? })
        }
        rows if rows.len() == batch.len() => {
            Ok(Appended::SomeKnown(rows.iter().map(stored).collect::<Result<_, _>>()?))
        }
        rows => {
            let message = format!("append_events answered {} rows to a batch of {}", rows.len(), batch.len());
            Err(sqlx::Error::Protocol(message))
        }
    }
}

fn stored(row: &PgRow) -> sqlx::Result<Recorded> {
    let (event_type, data) = (row.try_get("stored_type")?, row.try_get("stored_data")?);
    let event = Event::decode(event_type, row.try_get("stored_version")?, data);
    Ok(Recorded { position: position(row)?, recorded_at: timestamp(row, "stored_at")?, event })
}

fn position(row: &PgRow) -> sqlx::Result<Position> {
    row.try_get::<i64, _>("stored_position")?.try_into().map_err(decode_error)
}

fn decode_error(error: impl std::error::Error + Send + Sync + 'static) -> sqlx::Error {
    sqlx::Error::Decode(Box::new(error))
}
