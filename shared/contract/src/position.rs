//! The position of an event in the log.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A position in the log: 1 is the first event, 0 is before it.
#[derive(
    Clone, Copy, Debug, Default, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, utoipa::ToSchema,
)]
#[serde(try_from = "i64", into = "i64")]
#[schema(value_type = i64, minimum = 0)]
pub struct Position(i64);

/// Positions count from 0.
#[derive(Debug, thiserror::Error)]
#[error("a position is a whole number from 0")]
pub struct NegativePosition;

impl Position {
    pub const START: Self = Self(0);

    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// The position this many events later.
    #[must_use]
    pub const fn plus(self, events: i64) -> Self {
        Self(self.0.saturating_add(events))
    }

    pub const fn get(self) -> i64 {
        self.0
    }

    /// The stream sequence in JetStream, which equals the position.
    pub const fn as_sequence(self) -> u64 {
        self.0.cast_unsigned()
    }

    pub fn from_sequence(sequence: u64) -> Self {
        Self(i64::try_from(sequence).expect("JetStream counts from 1 and has not published 2^63 messages"))
    }
}

impl TryFrom<i64> for Position {
    type Error = NegativePosition;

    fn try_from(position: i64) -> Result<Self, NegativePosition> {
        if position < 0 { Err(NegativePosition) } else { Ok(Self(position)) }
    }
}

impl From<Position> for i64 {
    fn from(position: Position) -> Self {
        position.0
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
