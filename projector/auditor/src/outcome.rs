//! The exit codes.

/// Result of a command, from the best to the worst.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Outcome {
    /// No fault was found, and everything was compared.
    Right,
    /// Events are of a type, version, licence or currency that this program does not know. They are what was signed.
    Newer,
    /// The log was restored from a backup, and checkpoints that were given up with the lost events are not compared.
    Restored,
    /// Something could not be compared.
    Unknown,
    /// The log is wrong.
    Wrong,
}

impl Outcome {
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Right => 0,
            Self::Wrong => 1,
            Self::Unknown => 2,
            Self::Newer => 3,
            Self::Restored => 4,
        }
    }
}
