//! What was committed a moment ago, handed from the writer to the relay.
//!
//! This is a shortcut past the log, which nothing depends on: whatever is missing here, since another replica wrote it or
//! this one was started only now, the relay reads from the log.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
};

use contract::{position::Position, recorded_event::RecordedEvent};
use tokio::sync::Notify;

/// Events that may wait for the relay. When NATS is away for longer than they last, they are let go.
pub const CAPACITY: usize = 8192;

#[derive(Default)]
pub struct Committed {
    recent: Mutex<VecDeque<RecordedEvent>>,
    changed: Notify,
}

impl Committed {
    /// Something was committed: these events, unless there were so many of them that they had to be let go.
    pub fn add(&self, events: Vec<RecordedEvent>) {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if recent.len() + events.len() > CAPACITY {
            *recent = VecDeque::new();
        } else {
            recent.extend(events);
        }
        drop(recent);
        self.changed.notify_one();
    }

    pub fn is_empty(&self) -> bool {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Returns when something was committed since the last time.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// The events that follow a position without a hole, as far as they are here. Those before it are let go.
    pub fn take_after(&self, position: Position, limit: usize) -> Vec<RecordedEvent> {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        while recent.front().is_some_and(|event| event.position <= position) {
            recent.pop_front();
        }
        let mut next = position;
        let following = recent.iter().take(limit).take_while(|event| {
            next = next.next();
            event.position == next
        });
        let following = following.count();
        recent.drain(..following).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::DateTime;
    use contract::event::{EventId, Metadata};

    fn events(positions: impl IntoIterator<Item = i64>) -> Vec<RecordedEvent> {
        let event = |position: i64| RecordedEvent {
            position: position.try_into().unwrap(),
            event_id: EventId::generate(),
            recorded_at: DateTime::UNIX_EPOCH,
            event_type: "SalesReset".into(),
            schema_version: 1,
            data: serde_json::value::to_raw_value(&serde_json::Map::new()).unwrap(),
            metadata: Metadata::default(),
        };
        positions.into_iter().map(event).collect()
    }

    fn taken(committed: &Committed, after: i64, limit: usize) -> Vec<i64> {
        let events = committed.take_after(after.try_into().unwrap(), limit);
        events.iter().map(|event| event.position.get()).collect()
    }

    #[test]
    fn what_follows_without_a_hole_is_given_once_and_no_more_than_asked_for() {
        let committed = Committed::default();
        committed.add(events(1..=5));
        assert_eq!(taken(&committed, 2, 2), [3, 4]);
        assert_eq!(taken(&committed, 4, 10), [5]);
        assert!(committed.is_empty());
    }

    #[test]
    fn behind_what_another_replica_wrote_nothing_is_given_before_that_is_published() {
        let committed = Committed::default();
        committed.add(events([1, 2, 5, 6]));
        assert_eq!(taken(&committed, 0, 10), [1, 2]);
        assert!(taken(&committed, 2, 10).is_empty());
        assert_eq!(taken(&committed, 4, 10), [5, 6]);
    }

    #[test]
    fn what_nobody_takes_is_let_go() {
        let committed = Committed::default();
        let capacity = i64::try_from(CAPACITY).unwrap();
        committed.add(events(1..=capacity));
        assert!(!committed.is_empty());
        committed.add(events([capacity + 1]));
        assert!(committed.is_empty());
        committed.add(events([capacity + 2]));
        assert_eq!(taken(&committed, capacity + 1, 10), [capacity + 2]);
    }
}
