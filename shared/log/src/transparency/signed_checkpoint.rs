//! Signed checkpoints of the transparency log: the number of events, the root of the Merkle tree over them, and a signature.
//! The owner of one can verify later that the log still begins with these events.
//!
//! Source: C2SP tlog-checkpoint and signed-note, also for the format of keys. The key's name is the log's origin.

use std::{
    fs::File,
    io::{self, Write},
    str,
};

use base64::prelude::{BASE64_STANDARD, Engine};
use chrono::{DateTime, SecondsFormat, Utc};
use rand_core::OsRng;
use signed_note::{Note, Signer, StandardSigner, StandardVerifier, Verifier, VerifierList};
use tlog_tiles::Hash;

use contract::position::Position;

/// What an extension line with the time of signing starts with.
const TIME: &str = "time ";

pub(super) fn format_time(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Micros, true)
}

/// Parses a time in exactly the form in which it is written.
pub(super) fn parse_time(text: &str) -> Option<DateTime<Utc>> {
    let time = DateTime::parse_from_rfc3339(text).ok()?.to_utc();
    (format_time(time) == text).then_some(time)
}

/// The signed state of a tree.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    pub origin: String,
    /// Position of the last event; also the number of leaves.
    pub position: Position,
    pub root: Hash,
    /// When it was signed, with the precision of microseconds. Notes of earlier versions do not state it.
    pub time: Option<DateTime<Utc>>,
}

impl Checkpoint {
    /// The content of a note, without verifying its signature.
    pub fn unverified(note: &str) -> Option<Self> {
        Self::of(&Note::from_bytes(note.as_bytes()).ok()?)
    }

    fn of(note: &Note) -> Option<Self> {
        let checkpoint = tlog_tiles::Checkpoint::from_bytes(note.text()).ok()?;
        let position = i64::try_from(checkpoint.size()).ok().and_then(|size| Position::try_from(size).ok())?;
        let time = checkpoint.extension().lines().find_map(|line| parse_time(line.strip_prefix(TIME)?));
        Some(Self { origin: checkpoint.origin().to_owned(), position, root: *checkpoint.hash(), time })
    }
}

#[derive(Debug, thiserror::Error)]
pub enum NotACheckpoint {
    #[error("it is not a signed note")]
    NotANote,
    #[error("the key {0} has not signed it")]
    Unsigned(String),
    #[error("the signature by the key {0} is invalid")]
    Forged(String),
    #[error("the signed text is not a checkpoint of {0}")]
    OtherLog(String),
}

#[derive(Debug, thiserror::Error)]
#[error("not a key in the format of C2SP signed-note: {0}")]
pub struct NotAKey(pub(super) String);

/// Signs checkpoints.
#[derive(Clone)]
pub struct SigningKey {
    key: StandardSigner,
    verifying: VerifyingKey,
}

impl SigningKey {
    pub fn parse(text: &str) -> Result<Self, NotAKey> {
        let text = text.trim();
        let key = StandardSigner::new(text).map_err(|error| NotAKey(error.to_string()))?;
        // `PRIVATE+KEY+<name>+<id>+<algorithm and seed>`, as just verified.
        let seed = text.splitn(5, '+').nth(4).and_then(|encoded| BASE64_STANDARD.decode(encoded).ok());
        let seed = seed.as_deref().and_then(|seed| seed.get(1..)?.try_into().ok());
        let seed = seed.ok_or_else(|| NotAKey("its seed cannot be read".to_owned()))?;
        let public = ed25519_dalek::SigningKey::from_bytes(seed).verifying_key();
        let verifying = VerifyingKey::parse(&signed_note::new_ed25519_verifier_key(key.name(), &public))?;
        Ok(Self { key, verifying })
    }

    /// The public key.
    pub fn verifying_key(&self) -> &VerifyingKey {
        &self.verifying
    }

    /// The note without a time. Ed25519 is deterministic: the same checkpoint and key give the same note.
    pub fn sign(&self, position: Position, root: Hash) -> String {
        self.sign_with(position, root, "")
    }

    /// The note with the time of signing, in an extension line.
    pub fn sign_at(&self, position: Position, root: Hash, time: DateTime<Utc>) -> String {
        self.sign_with(position, root, &format!("{TIME}{}\n", format_time(time)))
    }

    fn sign_with(&self, position: Position, root: Hash, extension: &str) -> String {
        let checkpoint = tlog_tiles::Checkpoint::new(self.key.name(), position.as_sequence(), root, extension)
            .expect("a key has a name, and an extension is lines");
        self.sign_text(&checkpoint.to_bytes())
    }

    /// Signs a text, which must be lines.
    pub(super) fn sign_text(&self, text: &[u8]) -> String {
        let mut note = Note::new(text, &[]).expect("lines are the text of a note");
        note.add_sigs(&[&self.key]).expect("a key signs");
        String::from_utf8(note.to_bytes()).expect("a note is text")
    }
}

/// Verifies the signature of checkpoints.
#[derive(Clone)]
pub struct VerifyingKey {
    key: StandardVerifier,
    text: String,
}

impl VerifyingKey {
    pub fn parse(key: &str) -> Result<Self, NotAKey> {
        let text = key.trim();
        let key = StandardVerifier::new(text).map_err(|error| NotAKey(error.to_string()))?;
        Ok(Self { key, text: text.to_owned() })
    }

    pub fn origin(&self) -> &str {
        self.key.name()
    }

    /// Parses a checkpoint that this key has signed.
    pub fn open(&self, note: &str) -> Result<Checkpoint, NotACheckpoint> {
        let note = self.verify(note)?;
        let checkpoint = Checkpoint::of(&note).filter(|checkpoint| checkpoint.origin == self.origin());
        checkpoint.ok_or_else(|| NotACheckpoint::OtherLog(self.origin().to_owned()))
    }

    /// Verifies that this key has signed the note, whatever its text is.
    pub(super) fn verify(&self, note: &str) -> Result<Note, NotACheckpoint> {
        let note = Note::from_bytes(note.as_bytes()).map_err(|_| NotACheckpoint::NotANote)?;
        let known = VerifierList::new(vec![Box::new(self.key.clone())]);
        note.verify(&known).map_err(|error| match error {
            signed_note::NoteError::UnverifiedNote => NotACheckpoint::Unsigned(self.text.clone()),
            _ => NotACheckpoint::Forged(self.text.clone()),
        })?;
        Ok(note)
    }
}

impl std::fmt::Display for VerifyingKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.text.fmt(f)
    }
}

/// A new key pair, the private key first, for a log of that name, which should be unique, without blanks and `+`.
pub fn generate_keys(origin: &str) -> Result<(String, String), NotAKey> {
    if signed_note::is_key_name_valid(origin) {
        Ok(signed_note::generate_key(&mut OsRng, origin))
    } else {
        Err(NotAKey(format!("the name {origin:?} is invalid; it must not contain blanks or plus signs")))
    }
}

/// Appends a note to a file that was opened for appending, and syncs it. After an error nothing of it remains: the next note
/// would continue the partial one.
pub fn append_note(mut file: &File, note: &str) -> io::Result<()> {
    let length = file.metadata()?.len();
    let appended = file.write_all(note.as_bytes()).and_then(|()| file.sync_data());
    if appended.is_err() {
        file.set_len(length)?;
    }
    appended
}

/// The notes of a file to which they were appended. A partial note at the end, after a power failure, is skipped: it was
/// never published.
pub fn split_notes(file: &str) -> Vec<&str> {
    let mut notes = Vec::new();
    let (mut start, mut at, mut signatures) = (0, 0, false);
    for line in file.split_inclusive('\n') {
        let signature = line.starts_with("— ");
        if signatures && !signature {
            notes.push(&file[start..at]);
            start = at;
        }
        signatures = signature;
        at += line.len();
    }
    if signatures && file.ends_with('\n') {
        notes.push(&file[start..at]);
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> (SigningKey, VerifyingKey) {
        let (signing, verifying) = generate_keys("sales.example/log").unwrap();
        let signing = SigningKey::parse(&signing).unwrap();
        assert_eq!(signing.verifying_key().to_string(), verifying);
        (signing, VerifyingKey::parse(&verifying).unwrap())
    }

    fn position(position: i64) -> Position {
        position.try_into().unwrap()
    }

    #[test]
    fn a_signed_checkpoint_is_accepted_under_its_key_alone() {
        let (signing, verifying) = keys();
        let root = tlog_tiles::record_hash(b"root");
        let note = signing.sign(position(17), root);
        let checkpoint = verifying.open(&note).unwrap();
        assert_eq!(
            checkpoint,
            Checkpoint { origin: "sales.example/log".to_owned(), position: position(17), root, time: None }
        );
        assert!(matches!(keys().1.open(&note), Err(NotACheckpoint::Unsigned(_))));
        assert_eq!(Checkpoint::unverified(&note), Some(checkpoint));
        assert_eq!(Checkpoint::unverified("sales.example/log\n17\n"), None);
        let forged = note.replace("\n17\n", "\n18\n");
        assert!(matches!(verifying.open(&forged), Err(NotACheckpoint::Forged(_))));
        assert!(matches!(verifying.open("sales.example/log\n17\n"), Err(NotACheckpoint::NotANote)));
    }

    #[test]
    fn the_time_of_signing_is_signed() {
        let (signing, verifying) = keys();
        let root = tlog_tiles::record_hash(b"root");
        let time = parse_time("2026-11-30T19:00:00.000001Z").unwrap();
        let note = signing.sign_at(position(17), root, time);
        assert_eq!(note.lines().nth(3), Some("time 2026-11-30T19:00:00.000001Z"));
        let checkpoint = verifying.open(&note).unwrap();
        assert_eq!((checkpoint.position, checkpoint.root, checkpoint.time), (position(17), root, Some(time)));
        let later = note.replace("00.000001Z", "00.000002Z");
        assert!(matches!(verifying.open(&later), Err(NotACheckpoint::Forged(_))));
        // Extension lines of others are none of this.
        let other = signing.sign_with(position(17), root, "time yesterday\nmore\n");
        assert_eq!(verifying.open(&other).unwrap().time, None);
    }

    #[test]
    fn malformed_keys_are_refused() {
        for key in ["", "PRIVATE+KEY", "PRIVATE+KEY+sales.example/log+00000000+AAAA"] {
            assert!(SigningKey::parse(key).is_err(), "{key} was accepted");
        }
        assert!(VerifyingKey::parse("sales.example/log+00000000+AAAA").is_err());
        assert!(generate_keys("with blank").is_err());
    }

    #[test]
    fn appended_notes_are_split_and_a_partial_one_is_skipped() {
        let (signing, _) = keys();
        let notes = [1, 2, 3].map(|size| signing.sign(position(size), tlog_tiles::record_hash(b"")));
        assert_eq!(split_notes(&notes.concat()), notes);
        assert!(split_notes("").is_empty());
        let torn = notes.concat();
        for end in notes[..2].concat().len()..torn.len() {
            if torn.is_char_boundary(end) {
                assert_eq!(split_notes(&torn[..end]), notes[..2], "cut off after {end} bytes");
            }
        }
    }
}
