//! The newest totals in memory, ready to be sent.

use std::time::Duration;

use axum::http::HeaderValue;
use bytes::Bytes;
use contract::position::Position;
use tokio::{sync::watch, time::Instant};

/// The newest totals; `None` until they have been read once.
pub type Watch = watch::Receiver<Option<Snapshot>>;

/// Totals ready to be sent.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub position: Position,
    pub body: Bytes,
    pub etag: HeaderValue,
    /// The same as a server-sent event.
    pub event: Bytes,
    complete_at: Instant,
}

impl Snapshot {
    pub fn new(position: Position, body: Bytes, etag: HeaderValue, age: Duration) -> Self {
        let head = format!("event: totals\nid: {}\ndata: ", version(&etag));
        let event = [head.as_bytes(), &body, b"\n\n"].concat().into();
        let complete_at = Instant::now().checked_sub(age).unwrap_or_else(Instant::now);
        Self { position, body, etag, event, complete_at }
    }

    /// Generation and position, between the quotes of the tag: changes with whatever the read model says.
    pub fn version(&self) -> &str {
        version(&self.etag)
    }

    /// How long ago these totals were last known to be complete.
    pub fn age(&self) -> Duration {
        self.complete_at.elapsed()
    }
}

fn version(etag: &HeaderValue) -> &str {
    etag.to_str().unwrap_or_default().trim_matches('"')
}
