//! The decisions of operators that events do not count.

use std::collections::HashMap;

use contract::{
    event::{DecodeError, Event, EventType, EventVoided},
    position::Position,
    recorded_event::RecordedEvent,
};
use sqlx::PgExecutor;

use crate::{error::ReadError, reader::read_type};

/// Decisions by the positions that they void. A decision takes effect at that position, so a program that adds up the log reads the
/// decisions first.
#[derive(Debug, Default)]
pub struct Decisions(HashMap<Position, EventVoided>);

impl Decisions {
    /// The decisions after a position, each about an event before it.
    pub async fn after(store: impl PgExecutor<'_>, position: Position) -> Result<Self, ReadError> {
        const END: Position = Position::START.plus(i64::MAX);
        let mut decisions = HashMap::new();
        for event in read_type(store, EventType::EventVoided, position, END, usize::MAX).await? {
            // One that cannot be decoded decides nothing.
            if let Ok(Event::EventVoided(decision)) = event.decode()
                && decision.position < event.position
            {
                decisions.insert(decision.position, decision);
            }
        }
        Ok(Self(decisions))
    }

    /// What an event means when the log is added up: itself or, if no version can decode it, the decision that it does not count.
    pub fn meaning<Text: AsRef<str>>(&self, event: &RecordedEvent<Text>) -> Result<Event, DecodeError> {
        event.decode().or_else(|error| match self.0.get(&event.position) {
            Some(decision) if error.is_final() => Ok(Event::EventVoided(decision.clone())),
            _ => Err(error),
        })
    }
}
