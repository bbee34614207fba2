//! Errors of reading the log.

use contract::{cloud_event::NotCanonical, position::Position};

#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("the event store cannot be read: {0}")]
    Database(#[from] sqlx::Error),
    #[error("the event at position {position} cannot be read: {reason}")]
    Unreadable { position: Position, reason: sqlx::Error },
    #[error(transparent)]
    NotCanonical(#[from] NotCanonical),
    /// Positions are gap-free by construction, so the log was tampered with.
    #[error("the event log has a gap: position {expected} is missing, {found} follows")]
    Gap { expected: Position, found: Position },
    /// The log was restored from a backup, or is another one.
    #[error("the event log ends at position {end}, before position {after}, which had been read")]
    CutOff { end: Position, after: Position },
    /// It was truncated or restored, and has been extended since.
    #[error(
        "the event at position {0} is not the one that had been read: the event log was truncated or restored, and extended"
    )]
    Replaced(Position),
}

impl ReadError {
    /// The first position that is concerned, where it is known.
    pub const fn position(&self) -> Option<Position> {
        match self {
            Self::Unreadable { position, .. } | Self::Replaced(position) => Some(*position),
            Self::NotCanonical(error) => Some(error.position),
            Self::Gap { expected, .. } => Some(*expected),
            Self::CutOff { end, .. } => Some(end.next()),
            Self::Database(_) => None,
        }
    }

    /// Whether the log itself is damaged, rather than unreachable.
    pub const fn is_integrity_violation(&self) -> bool {
        match self {
            Self::Unreadable { .. }
            | Self::NotCanonical(_)
            | Self::Gap { .. }
            | Self::CutOff { .. }
            | Self::Replaced(_) => true,
            Self::Database(error) => matches!(error, sqlx::Error::Decode(_) | sqlx::Error::ColumnDecode { .. }),
        }
    }
}
