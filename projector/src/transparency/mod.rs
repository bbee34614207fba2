//! The transparency log: grows the Merkle tree over the event log, and signs a checkpoint after each growth.
//!
//! Any number of projectors may do this. The tree follows from the log alone, each growth is stored by compare-and-set, and a
//! checkpoint is [published] before it is stored, so every checkpoint that a client receives exists outside the database.
//! Before it signs, a projector verifies that the tree begins with the highest checkpoints that it finds, in several [memories](memory).
//! So a log that was changed cannot get a signature, not even with a read model that was rebuilt from it. If too few of them are left,
//! an operator [decides](decision).
//!
//! Whatever prevents a signature, the totals continue: every failure is reported and retried here, and none ends the process.

pub mod decision;
mod error;
mod file;
pub mod key;
mod log;
mod memory;
mod metrics;
mod notes;
mod on_nats;
mod published;
mod store;
mod thinned;
pub mod watch;
mod window;
pub mod witnesses;

pub use self::{
    error::TransparencyError, log::TransparencyLog, metrics::Metrics, published::Published, store::discard,
    watch::Watch,
};
