//! The log under the paths of C2SP tlog-tiles, below `/api/log`: signed checkpoint, hashes of the Merkle tree, entries. Also its public key.
//!
//! With `PUBLIC_LOG` every caller may read checkpoints, hashes and consistency proofs. Entries are for auditors alone: a line has the
//! purchase id, with which anyone can get the licence key, and lines of resets have free text. Clients verify the tree without them.
//! Source: C2SP tlog-tiles.

use clap::Args;

pub mod checkpoint;
pub mod entries;
pub mod hashes;
pub mod key;
mod tile_name;

/// Which endpoints `PUBLIC_LOG` opens.
pub const PUBLIC: [&str; 6] = [
    "/api/log/checkpoint",
    "/api/log/tile/{level}/{*index}",
    "/api/events/checkpoint",
    "/api/events/checkpoint/cosigned",
    "/api/events/statements",
    "/api/events/consistency",
];

/// Settings of the log.
#[derive(Args, Clone, Debug, Default)]
#[group(skip)]
pub struct Settings {
    /// Let every caller read signed checkpoints, operators' statements, hashes of the log's tree and consistency proofs. They show how
    /// many events the log has. Without this setting they need the role auditor, as events always do.
    #[arg(long, env)]
    pub public_log: bool,
    /// Public key that verifies signed checkpoints, as created by `projector key`. The service passes it on to buyers, whose browsers verify
    /// proofs with it.
    #[arg(long, env)]
    pub log_public_key: Option<String>,
}
