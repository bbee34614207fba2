//! Recently committed events, handed from the writer to the relay.
//!
//! A shortcut past the log that nothing depends on: the relay reads from the log what is missing here because another
//! replica wrote it or this one has just started.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
};

use contract::{position::Position, recorded_event::RecordedEvent};
use tokio::sync::Notify;

/// Events that the buffer holds. When NATS is unreachable for longer, the buffer is cleared.
pub const CAPACITY: usize = 8192;

#[derive(Default)]
pub struct HandoffBuffer {
    recent: Mutex<VecDeque<RecordedEvent>>,
    changed: Notify,
}

impl HandoffBuffer {
    /// Adds committed events and wakes the relay. Clears the buffer instead of exceeding its capacity.
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

    /// Returns when events were committed since the last call.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Takes the events that follow a position without a gap. Drops those up to the position.
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
    use contract::event::EventId;

    fn events(positions: impl IntoIterator<Item = i64>) -> Vec<RecordedEvent> {
        let event = |position: i64| RecordedEvent {
            position: position.try_into().unwrap(),
            event_id: EventId::generate(),
            recorded_at: DateTime::UNIX_EPOCH,
            event_type: "SalesReset".into(),
            schema_version: 1,
            data: "{}".to_owned(),
            metadata: None,
        };
        positions.into_iter().map(event).collect()
    }

    fn taken(handoff: &HandoffBuffer, after: i64, limit: usize) -> Vec<i64> {
        let events = handoff.take_after(after.try_into().unwrap(), limit);
        events.iter().map(|event| event.position.get()).collect()
    }

    #[test]
    fn events_without_a_gap_are_taken_once_and_up_to_the_limit() {
        let handoff = HandoffBuffer::default();
        handoff.add(events(1..=5));
        assert_eq!(taken(&handoff, 2, 2), [3, 4]);
        assert_eq!(taken(&handoff, 4, 10), [5]);
        assert!(handoff.is_empty());
    }

    #[test]
    fn events_behind_a_gap_are_held_back_until_the_gap_is_published() {
        let handoff = HandoffBuffer::default();
        handoff.add(events([1, 2, 5, 6]));
        assert_eq!(taken(&handoff, 0, 10), [1, 2]);
        assert!(taken(&handoff, 2, 10).is_empty());
        assert_eq!(taken(&handoff, 4, 10), [5, 6]);
    }

    #[test]
    fn a_full_buffer_is_cleared() {
        let handoff = HandoffBuffer::default();
        let capacity = i64::try_from(CAPACITY).unwrap();
        handoff.add(events(1..=capacity));
        assert!(!handoff.is_empty());
        handoff.add(events([capacity + 1]));
        assert!(handoff.is_empty());
        handoff.add(events([capacity + 2]));
        assert_eq!(taken(&handoff, capacity + 1, 10), [capacity + 2]);
    }
}
