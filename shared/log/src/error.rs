//! Why the log could not be read.

use contract::{cloud_event::NotCanonical, position::Position};

#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("the event store cannot be read: {0}")]
    Database(#[from] sqlx::Error),
    #[error("the event at position {position} cannot be read: {reason}")]
    Unreadable { position: Position, reason: sqlx::Error },
    #[error(transparent)]
    NotCanonical(#[from] NotCanonical),
    /// Positions are gap-free by construction, so this is somebody's interference, and an alarm.
    #[error("the event log has a hole: position {expected} is missing, {found} follows")]
    Hole { expected: Position, found: Position },
    /// The log was restored from a backup, or it is another one.
    #[error("the event log ends at position {end}, before position {after} up to which it was read")]
    CutOff { end: Position, after: Position },
}

impl ReadError {
    /// Whether it is the log itself that is wrong, rather than the way to it.
    pub const fn is_alarm(&self) -> bool {
        match self {
            Self::Unreadable { .. } | Self::NotCanonical(_) | Self::Hole { .. } | Self::CutOff { .. } => true,
            Self::Database(error) => matches!(error, sqlx::Error::Decode(_) | sqlx::Error::ColumnDecode { .. }),
        }
    }
}
