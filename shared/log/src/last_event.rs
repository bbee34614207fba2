//! The identity of the last event that was read.

use chrono::{DateTime, Utc};
use contract::{event::EventId, position::Position, recorded_event::RecordedEvent};

use crate::error::ReadError;

/// The last event up to which the log was read. Readers that continue after it verify that the log still has it: a log that was
/// truncated or restored, and has grown past the position since, has another event there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct LastEvent {
    pub position: Position,
    pub recorded_at: DateTime<Utc>,
    /// `None` if it was not stored; then the time alone is compared.
    pub event_id: Option<EventId>,
}

impl LastEvent {
    /// Before the first event, which any log has.
    pub const START: Self = Self { position: Position::START, recorded_at: DateTime::UNIX_EPOCH, event_id: None };

    pub const fn of<Text>(event: &RecordedEvent<Text>) -> Self {
        Self { position: event.position, recorded_at: event.recorded_at, event_id: Some(event.event_id) }
    }

    /// Verifies that the event at its position is the one that was read.
    pub fn verify<Text>(&self, found: &RecordedEvent<Text>) -> Result<(), ReadError> {
        let same_id = self.event_id.is_none_or(|id| id == found.event_id);
        if same_id && self.recorded_at == found.recorded_at && self.position == found.position {
            return Ok(());
        }
        Err(ReadError::Replaced(self.position))
    }

    /// The position before it; `None` before the first event.
    pub(crate) fn before(&self) -> Option<Position> {
        (self.position > Position::START).then(|| self.position.plus(-1))
    }
}
