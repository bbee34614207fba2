//! What was signed, from several memories: the projector's file, NATS, and the read model. A new checkpoint is signed only if the log
//! agrees with them.

use std::fmt;

use chrono::{DateTime, TimeDelta, Utc};
use contract::position::Position;
use event_log::transparency::{
    signed_checkpoint::Checkpoint,
    statement::{Kind, Statement},
};

use super::notes::{SignedNote, highest, statements};

/// So many memories must hold a checkpoint of a log that is not empty. One that is lost does not stop signing, and a single one that is
/// left, or was set back, does not decide.
const QUORUM: usize = 2;
/// An operator's decision takes the place of missing memories for so long. It is signed, and so cannot be forged; nor can it be repeated
/// later.
const DECISION_TAKES_EFFECT_WITHIN: TimeDelta = TimeDelta::hours(1);

/// One place that keeps signed notes.
#[derive(Clone, Debug)]
pub struct Memory {
    pub name: &'static str,
    /// None if it did not respond.
    pub notes: Option<Vec<SignedNote>>,
}

/// The memories do not suffice for a comparison.
#[derive(Debug)]
pub struct Insufficient(Vec<String>);

impl fmt::Display for Insufficient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.join(", ").fmt(f)
    }
}

impl Memory {
    fn notes(&self) -> &[SignedNote] {
        self.notes.as_deref().unwrap_or_default()
    }

    fn holds_checkpoint(&self) -> bool {
        self.notes().iter().any(|note| note.checkpoint().is_some())
    }

    fn describe(&self) -> String {
        let state = match &self.notes {
            None => "does not respond".to_owned(),
            Some(_) if !self.holds_checkpoint() => "has no checkpoint".to_owned(),
            Some(notes) => {
                let end =
                    highest(notes, &[]).and_then(SignedNote::checkpoint).map_or(Position::START, |last| last.position);
                format!("has checkpoints up to position {end}")
            }
        };
        format!("{} {state}", self.name)
    }
}

/// All statements, each once.
pub fn all_statements(memories: &[Memory]) -> Vec<SignedNote> {
    let mut found: Vec<SignedNote> = Vec::new();
    for note in memories.iter().flat_map(Memory::notes).filter(|note| note.statement().is_some()) {
        if !found.iter().any(|known| known.text == note.text) {
            found.push(note.clone());
        }
    }
    found
}

/// Why the log cannot be signed, if too few memories hold a checkpoint.
pub fn insufficient(memories: &[Memory], log_is_empty: bool, now: DateTime<Utc>) -> Option<Insufficient> {
    let is_decided = |statement: &Statement| (now - statement.time).abs() <= DECISION_TAKES_EFFECT_WITHIN;
    let holding = memories.iter().filter(|memory| memory.holds_checkpoint()).count();
    let suffices = holding >= QUORUM || log_is_empty || statements(&all_statements(memories)).iter().any(is_decided);
    (!suffices).then(|| Insufficient(memories.iter().map(Memory::describe).collect()))
}

/// The checkpoints with which the log has to agree before more of it is signed, in the order of their positions: the highest of each
/// memory, and those of the statements.
pub fn to_compare(memories: &[Memory], origin: &str) -> Vec<Checkpoint> {
    let statements = statements(&all_statements(memories));
    let mut checkpoints: Vec<Checkpoint> = Vec::new();
    for memory in memories {
        let Some(highest) = highest(memory.notes(), &statements).and_then(SignedNote::checkpoint) else { continue };
        // Two of one size that differ are a fork: one of them contradicts the log.
        let of_size = memory.notes().iter().filter_map(SignedNote::checkpoint);
        checkpoints.extend(of_size.filter(|found| found.position == highest.position).cloned());
    }
    checkpoints.extend(statements.iter().map(|statement| statement.checkpoint(origin)));
    checkpoints.retain(|checkpoint| !statements.iter().any(|statement| statement.gives_up(checkpoint)));
    checkpoints.sort_by_key(|checkpoint| (checkpoint.position, checkpoint.root.0));
    checkpoints.dedup_by(|one, other| (one.position, one.root) == (other.position, other.root));
    checkpoints
}

/// A time for the next checkpoint: no restore gives it up.
pub fn time_of_signing(statements: &[Statement], now: DateTime<Utc>) -> DateTime<Utc> {
    let of_restore = |statement: &Statement| matches!(statement.kind, Kind::Restored { .. }).then_some(statement.time);
    let latest = statements.iter().filter_map(of_restore).max();
    latest.map_or(now, |latest| now.max(latest + TimeDelta::microseconds(1)))
}

#[cfg(test)]
mod tests {
    use event_log::transparency::{
        merkle::{Hash, record_hash},
        signed_checkpoint::{SigningKey, generate_keys},
    };

    use super::*;

    const ORIGIN: &str = "sales.example/log";

    struct Notes(SigningKey);

    impl Notes {
        fn new() -> Self {
            Self(SigningKey::parse(&generate_keys(ORIGIN).unwrap().0).unwrap())
        }

        fn checkpoint(&self, size: u64, seconds: i64) -> SignedNote {
            self.checkpoint_with(size, seconds, root(size))
        }

        fn checkpoint_with(&self, size: u64, seconds: i64, root: Hash) -> SignedNote {
            let note = self.0.sign_at(Position::from_sequence(size), root, at(seconds));
            SignedNote::open(&note, self.0.verifying_key()).unwrap()
        }

        fn statement(&self, kind: Kind, size: u64, seconds: i64) -> SignedNote {
            let (actor, reason) = ("olga".to_owned(), "a test".to_owned());
            let (position, root) = (Position::from_sequence(size), root(size));
            let note = Statement { kind, position, root, time: at(seconds), actor, reason }.sign(&self.0).unwrap();
            SignedNote::open(&note, self.0.verifying_key()).unwrap()
        }
    }

    fn root(size: u64) -> Hash {
        record_hash(&size.to_be_bytes())
    }

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }

    fn memories(notes: [Option<Vec<SignedNote>>; 3]) -> Vec<Memory> {
        ["the file", "NATS", "the read model"]
            .into_iter()
            .zip(notes)
            .map(|(name, notes)| Memory { name, notes })
            .collect()
    }

    fn positions(compared: &[Checkpoint]) -> Vec<i64> {
        compared.iter().map(|checkpoint| checkpoint.position.get()).collect()
    }

    #[test]
    fn the_highest_of_each_memory_is_compared_wherever_it_is() {
        let notes = Notes::new();
        let note = |size| notes.checkpoint(size, 0);
        let of = memories([Some(vec![note(3), note(9), note(5)]), Some(vec![note(7), note(2)]), Some(vec![note(8)])]);
        assert_eq!(positions(&to_compare(&of, ORIGIN)), [7, 8, 9]);
        // A fork: both are compared.
        let other = notes.checkpoint_with(9, 0, root(0));
        let of = memories([Some(vec![note(9), other]), None, Some(vec![note(9)])]);
        assert_eq!(positions(&to_compare(&of, ORIGIN)), [9, 9]);
    }

    #[test]
    fn one_memory_is_not_enough_unless_the_log_is_empty_or_an_operator_decides() {
        let notes = Notes::new();
        let held = || Some(vec![notes.checkpoint(4, 0)]);
        let none = || [None, Some(Vec::new())];
        for missing in none() {
            let missing = || missing.clone();
            for two in [[held(), held(), missing()], [held(), missing(), held()], [missing(), held(), held()]] {
                assert!(insufficient(&memories(two), false, at(0)).is_none());
            }
            for one in [
                [held(), missing(), missing()],
                [missing(), held(), missing()],
                [missing(), missing(), held()],
                [missing(), missing(), missing()],
            ] {
                assert!(insufficient(&memories(one.clone()), false, at(0)).is_some());
                assert!(insufficient(&memories(one.clone()), true, at(0)).is_none());
                let mut decided = memories(one);
                decided[2].notes.get_or_insert_default().push(notes.statement(Kind::Accepted, 6, 0));
                assert!(positions(&to_compare(&decided, ORIGIN)).contains(&6));
                assert!(insufficient(&decided, false, at(3600)).is_none());
                assert!(insufficient(&decided, false, at(3601)).is_some(), "it is not repeated later");
            }
        }
        let of = memories([Some(Vec::new()), None, held()]);
        assert_eq!(
            insufficient(&of, false, at(0)).unwrap().to_string(),
            "the file has no checkpoint, NATS does not respond, the read model has checkpoints up to position 4"
        );
    }

    #[test]
    fn a_restore_gives_up_the_lost_checkpoints_and_no_later_ones() {
        let notes = Notes::new();
        let given_up = Kind::Restored { given_up: Position::from_sequence(9), given_up_root: root(9) };
        let restored = notes.statement(given_up, 5, 100);
        let before = || vec![notes.checkpoint(4, 1), notes.checkpoint(9, 2)];
        let of = memories([Some(before()), Some(before()), Some(vec![notes.checkpoint(9, 2), restored.clone()])]);
        assert_eq!(positions(&to_compare(&of, ORIGIN)), [4, 5]);
        let after = [before(), vec![notes.checkpoint(7, 101)]].concat();
        let of = memories([Some(after), Some(before()), Some(vec![restored.clone()])]);
        assert_eq!(positions(&to_compare(&of, ORIGIN)), [4, 5, 7]);
        let statements = statements(&[restored]);
        assert!(time_of_signing(&statements, at(99)) > at(100));
        assert_eq!(time_of_signing(&statements, at(200)), at(200));
    }
}
