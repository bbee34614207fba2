//! Limit on the number of streams.

use std::sync::Arc;

use prometheus_client::{metrics::gauge::Gauge, registry::Registry};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

/// Concurrent clients. Each takes a socket and some 20 KB, so this is what a replica has room for at full load.
pub const MAX_CLIENTS: usize = 5000;

/// Places for clients of the stream.
pub struct Places {
    free: Arc<Semaphore>,
    open: Gauge,
    /// Ends all streams.
    pub drain: CancellationToken,
}

/// A client's place, released on drop.
pub struct Place {
    _permit: OwnedSemaphorePermit,
    open: Gauge,
}

impl Places {
    pub fn new(drain: CancellationToken, registry: &mut Registry) -> Self {
        let open = Gauge::default();
        registry.register("totals_streams", "Clients that are sent the totals as they change", open.clone());
        Self { free: Arc::new(Semaphore::new(MAX_CLIENTS)), open, drain }
    }

    /// `None` when all are taken.
    pub fn take(&self) -> Option<Place> {
        let permit = Arc::clone(&self.free).try_acquire_owned().ok()?;
        self.open.inc();
        Some(Place { _permit: permit, open: self.open.clone() })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.open.dec();
    }
}
