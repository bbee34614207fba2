//! The newest totals and purchases in memory, ready to be sent.

use std::{sync::Arc, time::Duration};

use axum::http::HeaderValue;
use bytes::Bytes;
use contract::position::Position;
use event_log::read_model::LatestPurchase;
use tokio::{sync::watch, time::Instant};

/// The newest totals; `None` until they have been read once.
pub type Watch = watch::Receiver<Option<Snapshot>>;

/// What the read model holds at a position.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub position: Position,
    /// The totals as JSON.
    pub body: Bytes,
    pub etag: HeaderValue,
    /// The totals as a server-sent event.
    pub event: Bytes,
    /// The newest purchases, newest first.
    pub latest: Arc<[LatestPurchase]>,
    complete_at: Instant,
}

impl Snapshot {
    pub fn new(
        position: Position,
        body: Bytes,
        etag: HeaderValue,
        age: Duration,
        latest: impl Into<Arc<[LatestPurchase]>>,
    ) -> Self {
        let head = format!("event: totals\nid: {}\ndata: ", version(&etag));
        let event = [head.as_bytes(), &body, b"\n\n"].concat().into();
        let complete_at = Instant::now().checked_sub(age).unwrap_or_else(Instant::now);
        Self { position, body, etag, event, latest: latest.into(), complete_at }
    }

    /// Generation and position, without the quotes of the tag. It changes whenever the read model does.
    pub fn version(&self) -> &str {
        version(&self.etag)
    }

    /// How long ago the totals were last known to be complete.
    pub fn age(&self) -> Duration {
        self.complete_at.elapsed()
    }
}

fn version(etag: &HeaderValue) -> &str {
    etag.to_str().unwrap_or_default().trim_matches('"')
}

#[cfg(test)]
impl Snapshot {
    /// A snapshot whose totals consist of the position alone.
    pub fn at(position: i64) -> Self {
        let etag = HeaderValue::try_from(format!("\"1-{position}\"")).unwrap();
        let body = format!("{{\"position\":{position}}}");
        Self::new(position.try_into().unwrap(), body.into(), etag, Duration::ZERO, [])
    }
}
