//! What was committed a moment ago, handed from the writer to the relay.
//!
//! This is a shortcut past the log, which nothing depends on: whatever is missing here, since another replica wrote it or
//! this one was started only now, the relay reads from the log.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
};

use shared::event_log::{Position, RecordedEvent};
use tokio::sync::Notify;

/// Events that may wait for the relay. When NATS is away for longer than they last, they are let go.
const CAPACITY: usize = 8192;

#[derive(Default)]
pub struct Committed {
    recent: Mutex<VecDeque<RecordedEvent>>,
    changed: Notify,
}

impl Committed {
    /// Something was committed: these events, unless there were so many of them that they had to be let go.
    pub fn add(&self, events: impl ExactSizeIterator<Item = RecordedEvent>) {
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
