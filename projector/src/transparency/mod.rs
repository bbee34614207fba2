//! The transparency log: grows the Merkle tree over the event log, and signs a checkpoint after each growth.
//!
//! Any number of projectors may do this. The tree follows from the log alone, each growth is stored by compare-and-set, and a
//! checkpoint is [published] before it is stored, so every checkpoint that a client receives exists outside the database.
//! Before it signs, a projector verifies that the tree begins with the newest published checkpoints that it finds. So a log
//! that was changed cannot get a signature, not even with a read model that was rebuilt from it.
//!
//! Whatever prevents a signature, the totals continue: every failure is reported and retried here, and none ends the process.

mod error;
pub mod key;
mod log;
mod metrics;
mod on_nats;
mod published;
mod store;
pub mod watch;
pub mod witnesses;

pub use self::{
    error::TransparencyError, log::TransparencyLog, metrics::Metrics, published::Published, store::discard,
    watch::Watch,
};
