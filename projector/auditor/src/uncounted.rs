//! Events that cannot be counted, and later decisions that they do not count.

use std::collections::BTreeMap;

use contract::{
    event::{Event, EventVoided},
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

/// Events that only a newer program can count.
#[derive(Clone, Debug, Serialize)]
pub struct Newer {
    /// Of the first one.
    pub position: Position,
    pub what: String,
    pub events: u64,
}

/// A decision that an event does not count.
#[derive(Clone, Debug, Serialize)]
pub struct Decision {
    pub position: Position,
    /// Position of the event that does not count.
    pub voids: Position,
    pub reason: String,
    /// False if that event counts, does not precede the decision, or was voided before. None if it was not read.
    pub has_effect: Option<bool>,
}

/// An event that cannot be counted.
struct Reason {
    what: String,
    may_be_newer: bool,
}

/// The events that cannot be counted and that no decision has voided yet.
#[derive(Default)]
pub struct Uncounted {
    events: BTreeMap<Position, Reason>,
    pub decisions: Vec<Decision>,
}

impl Uncounted {
    /// Returns `None` when there are too many to continue.
    #[must_use]
    pub fn add(&mut self, position: Position, what: &str, may_be_newer: bool) -> Option<()> {
        self.events.insert(position, Reason { what: what.to_owned(), may_be_newer });
        (self.events.len() < MAX_EVENTS).then_some(())
    }

    /// A decision, in a log that was read after the position `start`.
    pub fn decide(&mut self, position: Position, decision: &EventVoided, start: Position) {
        let has_effect = self.events.remove(&decision.position).is_some();
        let EventVoided { position: voids, reason } = decision.clone();
        let has_effect = (voids > start).then_some(has_effect);
        self.decisions.push(Decision { position, voids, reason, has_effect });
    }

    /// The first event, and why it cannot be counted.
    pub fn first(&self) -> Option<(Position, String)> {
        self.of(|_| true).next()
    }

    /// As [`Self::first`], without events that a newer program may count.
    pub fn first_invalid(&self) -> Option<(Position, String)> {
        self.of(|reason| !reason.may_be_newer).next()
    }

    /// Adds those that a newer program may count.
    pub fn newer(&self, known: Option<Newer>) -> Option<Newer> {
        let events = self.events.values().filter(|reason| reason.may_be_newer).count() as u64;
        let first = self.of(|reason| reason.may_be_newer).next();
        let first = first.map(|(position, what)| Newer { position, what, events: 0 });
        let all = known.as_ref().map_or(0, |known| known.events) + events;
        let first = [known, first].into_iter().flatten().min_by_key(|newer| newer.position);
        first.map(|first| Newer { events: all, ..first })
    }

    fn of(&self, is_wanted: impl Fn(&Reason) -> bool) -> impl Iterator<Item = (Position, String)> {
        let wanted = self.events.iter().filter(move |(_, reason)| is_wanted(reason));
        wanted.map(|(position, reason)| {
            (*position, format!("it cannot be counted: {}; no decision voids it", reason.what))
        })
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
                if let Some(Ok(Event::EventVoided(decision))) = &event.meaning
                    && decision.position < event.position
                    && self.events.contains_key(&decision.position)
                {
                    self.decide(event.position, decision, Position::START);
                }
            }
            if share.fault.is_some() {
                break;
            }
        }
        Ok(())
    }
}
