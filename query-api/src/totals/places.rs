//! Places for streams: how many clients may be connected at the same time.

use std::sync::Arc;

use prometheus_client::{metrics::gauge::Gauge, registry::Registry};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

/// Clients at the same time. Each takes a socket and some 20 KB: together what a replica may take at full load.
pub const MAX_CLIENTS: usize = 5000;

/// The places for clients.
pub struct Places {
    free: Arc<Semaphore>,
    open: Gauge,
    /// Ends all streams.
    pub drain: CancellationToken,
}

/// One client's. Given back when its stream ends, whichever way.
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
