//! Metrics of the relay.

use std::{sync::atomic::AtomicU64, time::Duration};

use chrono::Utc;
use contract::recorded_event::RecordedEvent;
use prometheus_client::{
    metrics::gauge::Gauge,
    registry::{Registry, Unit},
};

#[derive(Clone, Default)]
pub struct Metrics {
    pub(super) position: Gauge,
    lag_positions: Gauge<f64, AtomicU64>,
    lag_seconds: Gauge<f64, AtomicU64>,
    pub(super) diverged: Gauge,
    pub(super) missing_messages: Gauge,
}

impl Metrics {
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register("relay_position", "Last position known to be on the stream", metrics.position.clone());
        let help = "Events known to be committed but not published, at most a batch while the relay progresses; NaN while it does not know the end of the log or of the stream";
        registry.register("relay_lag_positions", help, metrics.lag_positions.clone());
        let help = "Age of the oldest unpublished event; while the relay does not know it, time since the whole log was last known to be published, or since the start";
        registry.register_with_unit("relay_lag", help, Unit::Seconds, metrics.lag_seconds.clone());
        registry.register(
            "relay_diverged",
            "1 while the stream holds other events than the log",
            metrics.diverged.clone(),
        );
        let help = "Messages that the stream lacks, at its beginning or within it";
        registry.register("relay_missing_messages", help, metrics.missing_messages.clone());
        metrics
    }

    /// Records the oldest unpublished event and how many are unpublished.
    pub(super) fn record_lag(&self, oldest: Option<&RecordedEvent>, positions: u32) {
        let age = oldest.map_or(0.0, |event| (Utc::now() - event.recorded_at).as_seconds_f64().max(0.0));
        self.lag_seconds.set(age);
        self.lag_positions.set(positions.into());
    }

    /// Nothing is known about unpublished events since the whole log was published.
    pub(super) fn record_unknown_lag(&self, since: Duration) {
        self.lag_seconds.set(since.as_secs_f64());
        self.lag_positions.set(f64::NAN);
    }
}
