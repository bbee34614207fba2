//! Why no checkpoint can be signed.

use contract::position::Position;
use event_log::{
    ReadError,
    transparency::{self, merkle::MissingTile},
};
use tokio::time::error::Elapsed;

use super::{file::OpenError, memory::Insufficient};

#[derive(Debug, thiserror::Error)]
pub enum TransparencyError {
    #[error(transparent)]
    Log(#[from] ReadError),
    #[error("the read model cannot be used: {0}")]
    ReadModel(#[from] sqlx::Error),
    #[error(transparent)]
    CheckpointFile(#[from] OpenError),
    #[error("the checkpoint file cannot be written: {0}")]
    File(#[from] std::io::Error),
    #[error(
        "the log differs from the one whose first {position} events were signed: the root of their tree was {signed}, and is {found} now"
    )]
    Forked { position: Position, signed: String, found: String },
    #[error(
        "the event at position {0} differs from the one that was added to the tree: the log was changed, or truncated and extended"
    )]
    Regrown(Position),
    #[error(
        "the log cannot be compared with what was signed, as fewer than two places have a checkpoint: {0}. If none of them returns, an operator decides with `projector sign`"
    )]
    Unconfirmed(Insufficient),
    #[error(
        "the event at position {0} is not the one that was published on NATS: one of them was changed before it was signed"
    )]
    Unpublished(Position),
    #[error("the transparency log is damaged: {0}")]
    Tiles(#[from] MissingTile),
    #[error("a database or the checkpoint file did not respond in time")]
    TimedOut(#[from] Elapsed),
}

impl TransparencyError {
    /// Whether an operator has to act; other failures end without one.
    pub const fn is_integrity_violation(&self) -> bool {
        match self {
            Self::Log(error) => error.is_integrity_violation(),
            Self::Forked { .. } | Self::Regrown(_) | Self::Unpublished(_) | Self::Tiles(_) => true,
            Self::CheckpointFile(error) => !matches!(error, OpenError::File { .. }),
            Self::ReadModel(_) | Self::File(_) | Self::Unconfirmed(_) | Self::TimedOut(_) => false,
        }
    }
}

impl From<transparency::ReadError> for TransparencyError {
    fn from(error: transparency::ReadError) -> Self {
        match error {
            transparency::ReadError::Database(error) => Self::ReadModel(error),
            transparency::ReadError::Tile(missing) => Self::Tiles(missing),
        }
    }
}
