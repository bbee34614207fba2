//! Metrics of the witnesses.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{family::Family, gauge::Gauge},
    registry::{Registry, Unit},
};

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub struct Labels {
    pub witness: String,
}

#[derive(Clone, Default)]
pub struct Metrics {
    pub position: Family<Labels, Gauge>,
    pub cosigned_at: Family<Labels, Gauge>,
    pub cosigned: Gauge,
    pub contradicting: Gauge,
    pub quorum: Gauge,
}

impl Metrics {
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let help = "Position of the last checkpoint that the witness has cosigned";
        registry.register("witness_position", help, metrics.position.clone());
        let help = "Time of the last cosignature of the witness, since 1970";
        registry.register_with_unit("witness_cosigned_timestamp", help, Unit::Seconds, metrics.cosigned_at.clone());
        let help = "Number of witnesses that have cosigned the checkpoint submitted last";
        registry.register("witnesses_cosigned", help, metrics.cosigned.clone());
        let help =
            "Number of witnesses that refuse the checkpoints, because they have cosigned another history of the log";
        registry.register("witnesses_contradicting", help, metrics.contradicting.clone());
        let help = "Number of witnesses that have to cosign a checkpoint; 0 without witnesses";
        registry.register("witness_quorum", help, metrics.quorum.clone());
        metrics
    }
}
