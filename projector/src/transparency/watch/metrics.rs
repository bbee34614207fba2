//! Metrics of the watch.

use std::sync::atomic::AtomicU64;

use chrono::Utc;
use contract::position::Position;
use prometheus_client::{
    metrics::gauge::Gauge,
    registry::{Registry, Unit},
};
use tokio::time::Instant;

use super::state::State;

#[derive(Clone)]
pub struct Metrics {
    position: Gauge,
    round_age_seconds: Gauge<f64, AtomicU64>,
    difference: Gauge,
    difference_position: Gauge,
}

impl Metrics {
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            position: Gauge::default(),
            round_age_seconds: Gauge::default(),
            difference: Gauge::default(),
            difference_position: Gauge::default(),
        };
        let help = "Position that the watch has reached in its current round over the log";
        registry.register("watch_position", help, metrics.position.clone());
        let help =
            "Time since the watch last completed a round over the whole log, or since the start before the first";
        registry.register_with_unit("watch_round_age", help, Unit::Seconds, metrics.round_age_seconds.clone());
        let help = "1 while the log, the Merkle tree, a signed checkpoint or the catalogue of the event store differs from the others";
        registry.register("watch_difference", help, metrics.difference.clone());
        let help = "Log position of the first difference; 0 if there is none, or if it has no position";
        registry.register("watch_difference_position", help, metrics.difference_position.clone());
        metrics
    }

    pub fn show(&self, state: &State, started_at: Instant) {
        self.position.set(state.position.get());
        let age = match state.completed_at {
            Some(completed_at) => (Utc::now() - completed_at).as_seconds_f64().max(0.0),
            None => started_at.elapsed().as_secs_f64(),
        };
        self.round_age_seconds.set(age);
        self.difference.set(state.difference.is_some().into());
        let position = state.difference.as_ref().and_then(|difference| difference.position);
        self.difference_position.set(position.map_or(0, Position::get));
    }
}
