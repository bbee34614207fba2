//! Metrics of the transparency log.

use std::sync::atomic::AtomicU64;

use prometheus_client::{
    metrics::{counter::Counter, gauge::Gauge},
    registry::{Registry, Unit},
};

#[derive(Clone)]
pub struct Metrics {
    pub position: Gauge,
    pub delay_seconds: Gauge<f64, AtomicU64>,
    pub longest_delay_seconds: Gauge<f64, AtomicU64>,
    pub unpublished_events: Counter,
    pub refused: Gauge,
    pub unconfirmed: Gauge,
}

impl Metrics {
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            position: Gauge::default(),
            delay_seconds: Gauge::default(),
            longest_delay_seconds: Gauge::default(),
            unpublished_events: Counter::default(),
            refused: Gauge::default(),
            unconfirmed: Gauge::default(),
        };
        registry.register(
            "checkpoint_position",
            "Position up to which the transparency log is signed",
            metrics.position.clone(),
        );
        let help = "Time from the commit of an event to its signature, or since the whole log was last signed while none is possible; 0 when the whole log is signed";
        registry.register_with_unit("checkpoint_delay", help, Unit::Seconds, metrics.delay_seconds.clone());
        let help = "Longest time from the commit of an event to its signature within the last hour; meanwhile the event could be changed";
        registry.register_with_unit(
            "checkpoint_longest_delay",
            help,
            Unit::Seconds,
            metrics.longest_delay_seconds.clone(),
        );
        registry.register(
            "checkpoint_unpublished_events",
            "Events that waited for their signature and could not be compared with NATS, because it had no message",
            metrics.unpublished_events.clone(),
        );
        registry.register(
            "checkpoint_refused",
            "1 while no checkpoint is signed because the log contradicts an earlier one or NATS, or the checkpoint file or the tree is damaged",
            metrics.refused.clone(),
        );
        registry.register(
            "checkpoint_unconfirmed",
            "1 while no checkpoint is signed because earlier ones were lost and the log cannot be compared with them",
            metrics.unconfirmed.clone(),
        );
        metrics
    }
}
