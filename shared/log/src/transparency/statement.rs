//! Signed statements of an operator on the log: why it continues although something about its checkpoints is missing.
//!
//! A statement is a signed note, as a checkpoint is. Neither can be mistaken for the other: the first line of a statement is no
//! origin, because it contains a blank, and its second line is no number.

use base64::prelude::{BASE64_STANDARD, Engine};
use chrono::{DateTime, Utc};
use contract::position::Position;
use signed_note::Note;
use tlog_tiles::Hash;

use super::signed_checkpoint::{Checkpoint, NotACheckpoint, SigningKey, VerifyingKey, format_time, parse_time};

/// An operator's decision on the log up to a position.
#[derive(Clone, Debug, PartialEq)]
pub struct Statement {
    pub kind: Kind,
    /// The log up to this position …
    pub position: Position,
    /// … has this root.
    pub root: Hash,
    pub time: DateTime<Utc>,
    /// Who decided.
    pub actor: String,
    pub reason: String,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// The log is signed as it is, although its earlier checkpoints cannot be compared.
    Accepted,
    /// The log was restored to the position. Later events are lost, and with them this checkpoint, the highest one until then.
    Restored { given_up: Position, given_up_root: Hash },
}

#[derive(Debug, thiserror::Error)]
#[error("{0} must not be empty and must not contain control characters")]
pub struct InvalidText(&'static str);

impl Statement {
    /// The signed note.
    pub fn sign(&self, key: &SigningKey) -> Result<String, InvalidText> {
        for (name, text) in [("the actor", &self.actor), ("the reason", &self.reason)] {
            if text.trim().is_empty() || text.chars().any(char::is_control) {
                return Err(InvalidText(name));
            }
        }
        let origin = key.verifying_key().origin();
        let (kind, given_up) = match &self.kind {
            Kind::Accepted => ("accepted", String::new()),
            Kind::Restored { given_up, given_up_root } => {
                ("restored", format!("given-up {given_up} {given_up_root}\n"))
            }
        };
        let Self { position, root, actor, reason, .. } = self;
        let time = format_time(self.time);
        Ok(key.sign_text(
            format!(
                "{origin} statement\n{kind} {position}\n{root}\n{given_up}time {time}\nactor {actor}\nreason {reason}\n"
            )
            .as_bytes(),
        ))
    }

    /// Parses a statement that this key has signed.
    pub fn open(note: &str, key: &VerifyingKey) -> Result<Self, NotACheckpoint> {
        let note = key.verify(note)?;
        Self::of(&note, key.origin()).ok_or_else(|| NotACheckpoint::OtherLog(key.origin().to_owned()))
    }

    /// The content of a note, without verifying its signature.
    pub fn unverified(note: &str, origin: &str) -> Option<Self> {
        Self::of(&Note::from_bytes(note.as_bytes()).ok()?, origin)
    }

    fn of(note: &Note, origin: &str) -> Option<Self> {
        let mut lines = str::from_utf8(note.text()).ok()?.lines();
        if lines.next()?.strip_suffix(" statement")? != origin {
            return None;
        }
        let (kind, position) = lines.next()?.split_once(' ')?;
        let (position, root) = (parse_position(position)?, parse_root(lines.next()?)?);
        let kind = match kind {
            "accepted" => Kind::Accepted,
            "restored" => {
                let (given_up, given_up_root) = lines.next()?.strip_prefix("given-up ")?.split_once(' ')?;
                Kind::Restored { given_up: parse_position(given_up)?, given_up_root: parse_root(given_up_root)? }
            }
            _ => return None,
        };
        let time = parse_time(lines.next()?.strip_prefix("time ")?)?;
        let actor = lines.next()?.strip_prefix("actor ")?.to_owned();
        let reason = lines.next()?.strip_prefix("reason ")?.to_owned();
        lines.next().is_none().then_some(Self { kind, position, root, time, actor, reason })
    }

    /// Whether a restore has given up this checkpoint: it covers events that are lost. One that was signed later does not. Until the
    /// log has grown past the lost checkpoints, the time alone distinguishes the two.
    pub fn gives_up(&self, checkpoint: &Checkpoint) -> bool {
        match self.kind {
            Kind::Accepted => false,
            Kind::Restored { given_up, .. } => {
                checkpoint.position > self.position
                    && checkpoint.position <= given_up
                    && checkpoint.time.is_none_or(|time| time <= self.time)
            }
        }
    }

    /// The log that the statement is on: later ones begin with it.
    pub fn checkpoint(&self, origin: &str) -> Checkpoint {
        Checkpoint { origin: origin.to_owned(), position: self.position, root: self.root, time: Some(self.time) }
    }
}

fn parse_position(text: &str) -> Option<Position> {
    let position: i64 = text.parse().ok()?;
    (position.to_string() == text).then_some(())?;
    position.try_into().ok()
}

fn parse_root(text: &str) -> Option<Hash> {
    Some(Hash(BASE64_STANDARD.decode(text).ok()?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::{super::signed_checkpoint::generate_keys, *};

    fn position(position: i64) -> Position {
        position.try_into().unwrap()
    }

    fn time(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }

    fn restored() -> Statement {
        Statement {
            kind: Kind::Restored { given_up: position(300), given_up_root: tlog_tiles::record_hash(b"300") },
            position: position(200),
            root: tlog_tiles::record_hash(b"200"),
            time: time(1000),
            actor: "olga".to_owned(),
            reason: "the disk was lost".to_owned(),
        }
    }

    #[test]
    fn a_signed_statement_is_accepted_under_its_key_and_is_no_checkpoint() {
        let (private, _) = generate_keys("sales.example/log").unwrap();
        let key = SigningKey::parse(&private).unwrap();
        for statement in [restored(), Statement { kind: Kind::Accepted, ..restored() }] {
            let note = statement.sign(&key).unwrap();
            assert_eq!(Statement::open(&note, key.verifying_key()).unwrap(), statement);
            assert_eq!(Statement::unverified(&note, "sales.example/log"), Some(statement));
            assert!(matches!(key.verifying_key().open(&note), Err(NotACheckpoint::OtherLog(_))));
            assert_eq!(Checkpoint::unverified(&note), None);
            let forged = note.replace("olga", "otto");
            assert!(matches!(Statement::open(&forged, key.verifying_key()), Err(NotACheckpoint::Forged(_))));
        }
        let checkpoint = key.sign_at(position(17), tlog_tiles::record_hash(b""), time(0));
        assert!(Statement::open(&checkpoint, key.verifying_key()).is_err());
    }

    #[test]
    fn a_text_cannot_add_lines() {
        let (private, _) = generate_keys("sales.example/log").unwrap();
        let key = SigningKey::parse(&private).unwrap();
        for text in ["", " ", "olga\nreason none"] {
            assert!(Statement { actor: text.to_owned(), ..restored() }.sign(&key).is_err(), "{text:?}");
            assert!(Statement { reason: text.to_owned(), ..restored() }.sign(&key).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_restore_gives_up_earlier_checkpoints_beyond_it_alone() {
        let checkpoint = |size, time| Checkpoint {
            origin: "sales.example/log".to_owned(),
            position: position(size),
            root: tlog_tiles::record_hash(b""),
            time,
        };
        let statement = restored();
        for (size, signed_at, expected) in [
            (200, None, false),
            (201, None, true),
            (300, Some(time(1000)), true),
            (300, Some(time(1001)), false),
            (301, None, false),
        ] {
            assert_eq!(statement.gives_up(&checkpoint(size, signed_at)), expected, "{size}");
        }
        assert!(!Statement { kind: Kind::Accepted, ..restored() }.gives_up(&checkpoint(250, None)));
    }
}
