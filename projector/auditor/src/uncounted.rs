//! Events that cannot be counted, and later decisions that they do not count.

use std::collections::BTreeMap;

use contract::{
    event::{DecodeError, Event, EventVoided},
    position::Position,
};
use futures::TryStreamExt;
use serde::Serialize;

use crate::{
    examine::{Wanted, examined},
    source::Source,
};

/// Bounds the memory: no operator decides about more.
const MAX_EVENTS: usize = 10_000;

/// A decision that an event does not count.
#[derive(Clone, Debug, Serialize)]
pub struct Decision {
    pub position: Position,
    /// Position of the event that does not count.
    pub voids: Position,
    pub reason: String,
    /// False if that event counts, does not precede the decision, or was voided before.
    pub has_effect: bool,
}

/// The events that cannot be counted and that no decision has voided yet.
#[derive(Default)]
pub struct Uncounted {
    events: BTreeMap<Position, String>,
    pub decisions: Vec<Decision>,
}

impl Uncounted {
    /// Returns `None` when there are too many to continue.
    #[must_use]
    pub fn add(&mut self, position: Position, error: &DecodeError) -> Option<()> {
        self.events.insert(position, format!("it cannot be counted: {error}; no decision voids it"));
        (self.events.len() < MAX_EVENTS).then_some(())
    }

    pub fn decide(&mut self, position: Position, decision: &EventVoided) {
        let has_effect = self.events.remove(&decision.position).is_some();
        let EventVoided { position: voids, reason } = decision.clone();
        self.decisions.push(Decision { position, voids, reason, has_effect });
    }

    /// The first event, and why it cannot be counted.
    pub fn first(&self) -> Option<(Position, &str)> {
        self.events.first_key_value().map(|(position, what)| (*position, what.as_str()))
    }

    /// Looks for decisions after the part of the log that was read. A file is read from its start again.
    pub async fn look_ahead(&mut self, source: &Source, after: Position) -> anyhow::Result<()> {
        if self.events.is_empty() {
            return Ok(());
        }
        let mut shares = examined(source, after, None, Wanted { meanings: true, ..Wanted::default() });
        while !self.events.is_empty()
            && let Some(share) = shares.try_next().await?
        {
            for event in &share.events {
                if let Some(Ok(Event::EventVoided(decision))) = &event.event
                    && decision.position < event.position
                    && self.events.contains_key(&decision.position)
                {
                    self.decide(event.position, decision);
                }
            }
            if share.fault.is_some() {
                break;
            }
        }
        Ok(())
    }
}
