//! What a log submits (C2SP tlog-witness, add-checkpoint): the size that the witness has cosigned last, a consistency proof, an empty line
//! and a signed checkpoint.

use contract::position::Position;
use event_log::transparency::{merkle::Hash, signed_checkpoint::Checkpoint};

/// A tree of 2^63 leaves needs no more.
const MAX_PROOF_LINES: usize = 63;

#[derive(Debug)]
pub struct Submission {
    pub old: Position,
    pub proof: Vec<Hash>,
    pub note: String,
    /// The content of the note, whose signatures are not verified yet.
    pub checkpoint: Checkpoint,
}

#[derive(Debug, PartialEq, thiserror::Error)]
pub enum Malformed {
    #[error("there is no empty line between the proof and the checkpoint")]
    NoCheckpoint,
    #[error("the first line is not `old` and the size of the checkpoint before")]
    Old,
    #[error("the proof has more than {MAX_PROOF_LINES} lines")]
    ProofTooLong,
    #[error("line {0} of the proof is not a hash in base64")]
    Proof(usize),
    #[error("after the empty line, there is no signed checkpoint")]
    Checkpoint,
    #[error("the old size exceeds the size of the checkpoint")]
    OldIsLarger,
}

impl Submission {
    pub fn parse(body: &str) -> Result<Self, Malformed> {
        let (head, note) = body.split_once("\n\n").ok_or(Malformed::NoCheckpoint)?;
        let mut lines = head.split('\n');
        let old = lines.next().and_then(|line| line.strip_prefix("old ")).and_then(size).ok_or(Malformed::Old)?;
        let lines: Vec<_> = lines.collect();
        if lines.len() > MAX_PROOF_LINES {
            return Err(Malformed::ProofTooLong);
        }
        let hash = |(index, line): (usize, &&str)| Hash::parse_hash(line).map_err(|_| Malformed::Proof(index + 1));
        let proof = lines.iter().enumerate().map(hash).collect::<Result<_, _>>()?;
        let checkpoint = Checkpoint::unverified(note).ok_or(Malformed::Checkpoint)?;
        Ok(Self { old, proof, note: note.to_owned(), checkpoint })
    }
}

/// A decimal number without leading zeros.
fn size(text: &str) -> Option<Position> {
    let size: i64 = text.parse().ok()?;
    (size.to_string() == text).then(|| Position::try_from(size).ok()).flatten()
}
