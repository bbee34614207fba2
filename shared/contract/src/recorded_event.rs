//! An event as a row of the log.

use chrono::{DateTime, Utc};

use crate::{
    event::{DecodeError, Event, EventId, Metadata},
    position::Position,
};

/// An event on its way into the log. Its handler encodes it, so that the one writer does not have to.
#[derive(Clone, Debug)]
pub struct NewEvent {
    pub event_id: EventId,
    pub event: Event,
    pub event_type: &'static str,
    pub schema_version: i16,
    pub data: String,
    pub metadata: Option<String>,
}

impl NewEvent {
    pub fn new(event_id: EventId, event: Event, metadata: Metadata) -> Self {
        let (event_type, schema_version, data) = event.encode();
        Self { event_id, event, event_type, schema_version, data, metadata: metadata.salted().encode() }
    }

    pub fn recorded(self, position: Position, recorded_at: DateTime<Utc>) -> RecordedEvent {
        let Self { event_id, event_type, schema_version, data, metadata, .. } = self;
        RecordedEvent {
            position,
            event_id,
            recorded_at,
            schema_version,
            event_type: event_type.to_owned(),
            data,
            metadata,
        }
    }
}

/// A row of the log. Its texts are the stored ones, byte for byte; bulk readers borrow them (`RecordedEvent<&str>`).
#[derive(Clone, Copy, Debug)]
pub struct RecordedEvent<Text = String> {
    pub position: Position,
    pub event_id: EventId,
    pub recorded_at: DateTime<Utc>,
    pub schema_version: i16,
    pub event_type: Text,
    pub data: Text,
    pub metadata: Option<Text>,
}

impl<Text: AsRef<str>> RecordedEvent<Text> {
    pub fn decode(&self) -> Result<Event, DecodeError> {
        Event::decode(self.event_type.as_ref(), self.schema_version, self.data.as_ref())
    }

    pub fn decode_metadata(&self) -> serde_json::Result<Metadata> {
        self.metadata.as_ref().map_or_else(|| Ok(Metadata::default()), |json| serde_json::from_str(json.as_ref()))
    }
}
