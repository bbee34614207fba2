//! Cosignatures of checkpoints. A witness that cosigns a checkpoint states that, at that time, it is the newest one of the log that the
//! witness has seen, and that it continues every one that the witness has cosigned before.
//!
//! Source: C2SP tlog-cosignature with Ed25519 (`cosignature/v1`). Keys have the format of C2SP signed-note, with a type of their own.

use base64::prelude::{BASE64_STANDARD, Engine};
use chrono::{DateTime, Utc};
use ed25519_dalek::{Signature as Ed25519, Verifier as _, VerifyingKey as PublicKey};
use signed_note::{Note, Signature, Signer, StandardSigner, Verifier, VerifierList, is_key_name_valid, key_id};

use super::signed_checkpoint::{NotACheckpoint, NotAKey, SigningKey};

/// Signature types of signed-note.
const ED25519: u8 = 1;
const COSIGNATURE: u8 = 4;

/// A valid cosignature.
#[derive(Clone, Debug, PartialEq)]
pub struct Cosignature {
    pub time: DateTime<Utc>,
    /// The signature line, with its line feed.
    pub line: String,
}

/// Verifies the cosignatures of a witness.
#[derive(Clone)]
pub struct WitnessKey {
    name: String,
    id: u32,
    key: PublicKey,
}

impl WitnessKey {
    /// Parses `<name>+<key id>+<base64 of the type and the key>`.
    pub fn parse(text: &str) -> Result<Self, NotAKey> {
        let text = text.trim();
        let witness = decode(text, COSIGNATURE).map(|(name, key)| Self::new(name, key));
        // The text also has the key id.
        let witness = witness.filter(|witness| witness.to_string() == text && is_key_name_valid(&witness.name));
        witness.ok_or_else(|| NotAKey(format!("{text:?} is not the key of a witness (type {COSIGNATURE})")))
    }

    fn new(name: &str, key: PublicKey) -> Self {
        Self { name: name.to_owned(), id: key_id(name, &typed(&key)), key }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// The cosignature of this witness on a note; `None` if there is none, or if it is invalid.
    pub fn cosignature(&self, note: &str) -> Option<Cosignature> {
        let note = Note::from_bytes(note.as_bytes()).ok()?;
        let known = VerifierList::new(vec![Box::new(self.clone())]);
        let signature = note.verify(&known).ok()?.0.pop()?;
        let (time, _) = signature.signature().split_first_chunk()?;
        let time = i64::try_from(u64::from_be_bytes(*time)).ok()?;
        let line = String::from_utf8(signature.to_bytes()).ok()?;
        Some(Cosignature { time: DateTime::from_timestamp(time, 0)?, line })
    }
}

impl std::fmt::Display for WitnessKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}+{:08x}+{}", self.name, self.id, BASE64_STANDARD.encode(typed(&self.key)))
    }
}

/// What the library calls for signature lines with this name and key id.
impl Verifier for WitnessKey {
    fn name(&self) -> &str {
        &self.name
    }

    fn key_id(&self) -> u32 {
        self.id
    }

    fn verify(&self, text: &[u8], signature: &[u8]) -> bool {
        let Some((time, signature)) = signature.split_first_chunk() else { return false };
        let Ok(signature) = Ed25519::from_slice(signature) else { return false };
        i64::try_from(u64::from_be_bytes(*time))
            .is_ok_and(|time| self.key.verify(&message(time, text), &signature).is_ok())
    }
}

/// Refuses a list that has a key twice, under whatever names: one witness would count as two.
pub fn require_distinct<'a>(witnesses: impl IntoIterator<Item = &'a WitnessKey>) -> Result<(), NotAKey> {
    let mut before: Vec<&WitnessKey> = Vec::new();
    for witness in witnesses {
        if before.iter().any(|other| other.key == witness.key || other.name == witness.name) {
            return Err(NotAKey(format!("{witness} is in the list twice, by its key or by its name")));
        }
        before.push(witness);
    }
    Ok(())
}

/// Cosigns checkpoints.
pub struct CosigningKey {
    key: StandardSigner,
    witness: WitnessKey,
}

impl CosigningKey {
    /// Parses a private key that [`generate_keys`](super::signed_checkpoint::generate_keys) has made, under the name of the witness.
    pub fn parse(text: &str) -> Result<Self, NotAKey> {
        let public = SigningKey::parse(text)?.verifying_key().to_string();
        let not_a_key = || NotAKey("its public key cannot be read".to_owned());
        let (name, public) = decode(&public, ED25519).ok_or_else(not_a_key)?;
        let key = StandardSigner::new(text.trim()).map_err(|error| NotAKey(error.to_string()))?;
        Ok(Self { key, witness: WitnessKey::new(name, public) })
    }

    /// The public key.
    pub const fn witness_key(&self) -> &WitnessKey {
        &self.witness
    }

    /// The signature line for a note, with its line feed. Seconds are the unit of the time.
    pub fn cosign(&self, note: &str, time: DateTime<Utc>) -> Result<String, NotACheckpoint> {
        let note = Note::from_bytes(note.as_bytes()).map_err(|_| NotACheckpoint::NotANote)?;
        let time = time.timestamp();
        let signature = self.key.sign(&message(time, note.text())).expect("Ed25519 signs everything");
        let WitnessKey { name, id, .. } = &self.witness;
        let signature = Signature::new(name.clone(), *id, [&time.to_be_bytes()[..], &signature].concat());
        let line = signature.expect("a key has a valid name").to_bytes();
        Ok(String::from_utf8(line).expect("a signature line is text"))
    }
}

/// The signed message: it has the whole text of the note, also lines that the witness does not understand.
fn message(time: i64, text: &[u8]) -> Vec<u8> {
    [format!("cosignature/v1\ntime {time}\n").as_bytes(), text].concat()
}

fn typed(key: &PublicKey) -> Vec<u8> {
    [&[COSIGNATURE][..], key.as_bytes()].concat()
}

/// The name and the key in the text of a public key of this type.
fn decode(text: &str, signature_type: u8) -> Option<(&str, PublicKey)> {
    let (name, rest) = text.split_once('+')?;
    let key = BASE64_STANDARD.decode(rest.split_once('+')?.1).ok()?;
    let key = key.strip_prefix(&[signature_type])?.try_into().ok()?;
    Some((name, PublicKey::from_bytes(&key).ok()?))
}

#[cfg(test)]
mod tests {
    use contract::position::Position;

    use super::super::signed_checkpoint::generate_keys;
    use super::*;

    const NAME: &str = "witness.example/w1";

    fn key(name: &str) -> CosigningKey {
        CosigningKey::parse(&generate_keys(name).unwrap().0).unwrap()
    }

    fn note() -> String {
        let key = SigningKey::parse(&generate_keys("sales.example/log").unwrap().0).unwrap();
        key.sign(Position::START.next(), tlog_tiles::record_hash(b"root"))
    }

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }

    #[test]
    fn a_cosignature_is_accepted_under_its_key_alone() {
        let (witness, note) = (key(NAME), note());
        let line = witness.cosign(&note, at(1_679_315_147)).unwrap();
        let cosigned = note.clone() + &line;
        let found = witness.witness_key().cosignature(&cosigned);
        assert_eq!(found, Some(Cosignature { time: at(1_679_315_147), line: line.clone() }));

        assert_eq!(witness.witness_key().cosignature(&note), None);
        assert_eq!(key(NAME).witness_key().cosignature(&cosigned), None);
        assert_eq!(witness.witness_key().cosignature(&cosigned.replace("\n1\n", "\n2\n")), None);
        let other_time = witness.cosign(&note, at(1_679_315_148)).unwrap();
        let mixed = format!("{}{}", &line[..line.len() - 60], &other_time[other_time.len() - 60..]);
        assert_eq!(witness.witness_key().cosignature(&(note + &mixed)), None);
    }

    /// The bytes of C2SP tlog-cosignature, put together by hand.
    #[test]
    fn the_signature_covers_the_header_the_time_and_the_text() {
        let (witness, note) = (key(NAME), note());
        let line = witness.cosign(&note, at(7)).unwrap();
        let encoded = line.strip_prefix("— witness.example/w1 ").unwrap().strip_suffix('\n').unwrap();
        let bytes = BASE64_STANDARD.decode(encoded).unwrap();
        assert_eq!(bytes[..4], witness.witness_key().id.to_be_bytes());
        assert_eq!(bytes[4..12], [0, 0, 0, 0, 0, 0, 0, 7]);
        let text = note.split("\n\n").next().unwrap();
        let signed = format!("cosignature/v1\ntime 7\n{text}\n");
        let signature = Ed25519::from_slice(&bytes[12..]).unwrap();
        witness.witness_key().key.verify(signed.as_bytes(), &signature).unwrap();
    }

    #[test]
    fn keys_of_witnesses_are_of_their_own_type() {
        let (private, of_a_log) = generate_keys(NAME).unwrap();
        let text = CosigningKey::parse(&private).unwrap().witness_key().to_string();
        assert_eq!(WitnessKey::parse(&format!("{text}\n")).unwrap().to_string(), text);
        let (wrong_id, wrong_name) = (text.replacen('+', "+0", 1), text.replacen("w1", "w2", 1));
        for wrong in [&of_a_log, &wrong_id, &wrong_name, &text[..text.len() - 4], "", "+", "w1+00000000+BA=="] {
            assert!(WitnessKey::parse(wrong).is_err(), "{wrong} was accepted");
        }
        assert!(CosigningKey::parse(&text).is_err());
    }

    #[test]
    fn a_witness_counts_once() {
        let (private, _) = generate_keys(NAME).unwrap();
        let [one, other] = [NAME, "witness.example/w2"].map(|name| key(name).witness.clone());
        assert!(require_distinct([&one, &other]).is_ok());
        assert!(require_distinct([&one, &other, &one]).is_err());
        let witness = CosigningKey::parse(&private).unwrap().witness;
        let renamed = WitnessKey::new("witness.example/w2", witness.key);
        assert!(require_distinct([&witness, &renamed]).is_err());
    }
}
