//! The decisions of operators that events do not count.

use std::collections::HashMap;

use contract::{
    event::{DecodeError, Event, EventVoided},
    position::Position,
    recorded_event::RecordedEvent,
};
use futures::TryStreamExt;
use sqlx::{PgExecutor, Row};

use crate::{error::ReadError, row};

/// Decisions by the positions that they void. A decision takes effect at that position, so a program that adds up the log reads the
/// decisions first.
#[derive(Debug, Default)]
pub struct Decisions(HashMap<Position, EventVoided>);

impl Decisions {
    /// The decisions after a position, each about an event before it.
    pub async fn after(store: impl PgExecutor<'_>, position: Position) -> Result<Self, ReadError> {
        // Without the metadata: a decision counts even if its metadata cannot be read.
        let select =
            "select position, schema_version, data::text from event where event_type = 'EventVoided' and position > $1";
        let mut rows = sqlx::query(select).bind(position.get()).fetch(store);
        let mut decisions = HashMap::new();
        while let Some(row) = rows.try_next().await? {
            // One that cannot be decoded decides nothing.
            if let Ok(Event::EventVoided(decision)) =
                Event::decode("EventVoided", row.try_get("schema_version")?, row.try_get("data")?)
                && decision.position < row::position(&row, "position")?
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
