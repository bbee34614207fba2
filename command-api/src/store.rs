//! The SQL of the log's only way in.

use chrono::{DateTime, Utc};
use shared::{
    event::{EncodedEvent, Event, EventId, Metadata},
    event_log::Position,
};
use sqlx::{PgConnection, Row, postgres::PgRow};

/// An event on its way into the log, encoded by whoever made it, so that the one writer does not have to.
#[derive(Debug)]
pub struct NewEvent {
    event_id: EventId,
    event: Event,
    encoded: EncodedEvent,
    metadata: Option<String>,
}

impl NewEvent {
    pub fn new(event_id: EventId, event: Event, metadata: &Metadata) -> Self {
        Self { event_id, encoded: event.encode(), event, metadata: metadata.encode() }
    }
}

/// What the log holds under the id of an event that was handed in. After a retry that is the first one's event.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Recorded {
    pub position: Position,
    pub recorded_at: DateTime<Utc>,
    pub event: Event,
}

/// Appends a batch in one statement, which takes effect as a whole or not at all. Events whose ids are in the log
/// already are not appended again, so a batch whose outcome is unknown may simply be handed in once more.
pub async fn append<'a>(
    connection: &mut PgConnection,
    batch: impl ExactSizeIterator<Item = &'a NewEvent> + Clone,
) -> sqlx::Result<Vec<Recorded>> {
    let rows = sqlx::query(
        "select stored_position, stored_at, stored_type, stored_version, stored_data
         from append_events($1, $2, $3, $4, $5)",
    )
    .bind(batch.clone().map(|new| new.event_id.as_uuid()).collect::<Vec<_>>())
    .bind(batch.clone().map(|new| new.encoded.event_type).collect::<Vec<_>>())
    .bind(batch.clone().map(|new| new.encoded.schema_version).collect::<Vec<_>>())
    .bind(batch.clone().map(|new| new.encoded.data.as_str()).collect::<Vec<_>>())
    .bind(batch.clone().map(|new| new.metadata.as_deref()).collect::<Vec<_>>())
    .fetch_all(connection)
    .await?;
    if rows.len() != batch.len() {
        let message = format!("append_events answered {} rows to a batch of {}", rows.len(), batch.len());
        return Err(sqlx::Error::Protocol(message));
    }
    batch.zip(rows).map(|(new, row)| recorded(new, &row)).collect()
}

fn recorded(new: &NewEvent, row: &PgRow) -> sqlx::Result<Recorded> {
    let position: i64 = row.try_get("stored_position")?;
    let event = match row.try_get::<Option<&str>, _>("stored_type")? {
        None => new.event.clone(),
        Some(event_type) => Event::decode(event_type, row.try_get("stored_version")?, row.try_get("stored_data")?)
            .map_err(|error| sqlx::Error::Decode(Box::new(error)))?,
    };
    Ok(Recorded {
        position: position.try_into().map_err(|error| sqlx::Error::Decode(Box::new(error)))?,
        recorded_at: row.try_get("stored_at")?,
        event,
    })
}
