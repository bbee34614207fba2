//! Metrics of the transparency log.

use std::sync::atomic::AtomicU64;

use prometheus_client::{
    metrics::gauge::Gauge,
    registry::{Registry, Unit},
};

#[derive(Clone)]
pub struct Metrics {
    pub position: Gauge,
    pub delay_seconds: Gauge<f64, AtomicU64>,
    pub refused: Gauge,
}

impl Metrics {
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self { position: Gauge::default(), delay_seconds: Gauge::default(), refused: Gauge::default() };
        registry.register(
            "checkpoint_position",
            "Position up to which the transparency log is signed",
            metrics.position.clone(),
        );
        let help = "Time from the commit of an event to its signature, or since the whole log was last signed while none is possible; 0 when the whole log is signed";
        registry.register_with_unit("checkpoint_delay", help, Unit::Seconds, metrics.delay_seconds.clone());
        registry.register(
            "checkpoint_refused",
            "1 while no checkpoint is signed because the log contradicts an earlier one, or the checkpoint file contains something else",
            metrics.refused.clone(),
        );
        metrics
    }
}
