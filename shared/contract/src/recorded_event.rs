//! An event as the log holds it.

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use serde_json::value::RawValue;

use crate::{
    event::{DecodeError, Event, EventId, Metadata},
    position::Position,
};

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
}

/// An event as it comes by. Its texts are those that are stored.
#[derive(Clone, Copy, Debug)]
pub struct ScannedEvent<'a> {
    pub position: Position,
    pub event_id: EventId,
    pub recorded_at: DateTime<Utc>,
    pub schema_version: i16,
    pub event_type: &'a str,
    pub data: &'a str,
    pub metadata: Option<&'a str>,
}

impl ScannedEvent<'_> {
    pub fn decode(&self) -> Result<Event, DecodeError> {
        Event::decode(self.event_type, self.schema_version, self.data)
    }
}
