//! Signed notes of the log: checkpoints, and statements of operators.

use event_log::transparency::{
    signed_checkpoint::{Checkpoint, NotACheckpoint, VerifyingKey},
    statement::Statement,
};

#[derive(Clone, Debug)]
pub struct SignedNote {
    pub text: String,
    pub content: Content,
}

#[derive(Clone, Debug)]
pub enum Content {
    Checkpoint(Checkpoint),
    Statement(Statement),
}

impl SignedNote {
    /// A note that the key has signed.
    pub fn open(text: &str, key: &VerifyingKey) -> Result<Self, NotACheckpoint> {
        let content = match key.open(text) {
            Ok(checkpoint) => Content::Checkpoint(checkpoint),
            Err(NotACheckpoint::OtherLog(_)) => Content::Statement(Statement::open(text, key)?),
            Err(error) => return Err(error),
        };
        Ok(Self { text: text.to_owned(), content })
    }

    /// A note of this log, without verifying its signature.
    pub fn unverified(text: &str, origin: &str) -> Option<Self> {
        let content = match Checkpoint::unverified(text) {
            Some(checkpoint) if checkpoint.origin == origin => Content::Checkpoint(checkpoint),
            _ => Content::Statement(Statement::unverified(text, origin)?),
        };
        Some(Self { text: text.to_owned(), content })
    }

    pub fn verify(&self, key: &VerifyingKey) -> Result<(), NotACheckpoint> {
        Self::open(&self.text, key).map(drop)
    }

    pub const fn checkpoint(&self) -> Option<&Checkpoint> {
        match &self.content {
            Content::Checkpoint(checkpoint) => Some(checkpoint),
            Content::Statement(_) => None,
        }
    }

    pub const fn statement(&self) -> Option<&Statement> {
        match &self.content {
            Content::Checkpoint(_) => None,
            Content::Statement(statement) => Some(statement),
        }
    }
}

/// The checkpoint with the highest position that none of these statements gives up.
pub fn highest<'a>(notes: &'a [SignedNote], statements: &[Statement]) -> Option<&'a SignedNote> {
    let position = |note: &SignedNote| note.checkpoint().map(|checkpoint| checkpoint.position);
    let is_given_up = |found: &Checkpoint| statements.iter().any(|statement| statement.gives_up(found));
    let standing = notes.iter().filter(|note| note.checkpoint().is_some_and(|found| !is_given_up(found)));
    standing.max_by_key(|note| position(note))
}

pub fn statements(notes: &[SignedNote]) -> Vec<Statement> {
    notes.iter().filter_map(|note| note.statement().cloned()).collect()
}
