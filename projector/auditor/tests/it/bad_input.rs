//! Any bytes that arrive as an event, row, checkpoint, proof or export are rejected, or they are what was signed; nothing
//! panics. The bytes are real ones, damaged in thousands of ways.

use std::{collections::HashMap, fs, path::Path};

use auditor::{
    evidence::{Evidence, Signed},
    export::Export,
    peaks::Peaks,
    proof,
    source::Source,
    verify::verify,
};
use contract::{
    cloud_event::{CloudEvent, Deviation},
    event::Event,
    position::Position,
    recorded_event::RecordedEvent,
};
use event_log::{
    copy_format::parse_row,
    transparency::{
        merkle::{Proof, TileId, Tree, record_hash},
        signed_checkpoint::{Checkpoint, SigningKey, split_notes},
    },
};
use proptest::{
    prelude::*,
    sample::{Index, select},
    test_runner::{Config, FileFailurePersistence, TestRunner},
};
use serde_json::json;
use tempfile::TempDir;
use tokio::runtime::Runtime;

const LOG: &str = include_str!("../../../../shared/contract/golden/log.ndjson");
const PRIVATE_KEY: &str = include_str!("../../../../shared/contract/golden/private-key");
/// Tests that read and write files try one in so many cases.
const FILE_CASES: u32 = 10;

/// One kind of damage.
#[derive(Clone, Debug)]
enum Damage {
    Set(Index, u8),
    Flip(Index, u8),
    Insert(Index, Vec<u8>),
    Remove(Index, usize),
    /// Copies a part to another place.
    Copy(Index, usize, Index),
    CutOff(Index),
}

impl Damage {
    fn apply(&self, bytes: &mut Vec<u8>) {
        let length = bytes.len();
        if length == 0 {
            return;
        }
        let part = |at: &Index, length_of_part: usize| {
            let start = at.index(length);
            start..length.min(start + length_of_part)
        };
        match self {
            Self::Set(at, byte) => bytes[at.index(length)] = *byte,
            Self::Flip(at, bit) => bytes[at.index(length)] ^= 1 << bit,
            Self::Insert(at, more) => drop(bytes.splice(part(at, 0), more.iter().copied())),
            Self::Remove(at, count) => drop(bytes.drain(part(at, *count))),
            Self::Copy(from, count, to) => {
                let copy = bytes[part(from, *count)].to_vec();
                bytes.splice(part(to, 0), copy);
            }
            Self::CutOff(at) => bytes.truncate(at.index(length)),
        }
    }
}

fn damage() -> impl Strategy<Value = Vec<Damage>> {
    // Bytes with a meaning in JSON, notes or numbers are more frequent.
    let byte = || prop_oneof![any::<u8>(), select(&b"\"{}[],:\\\n0189-+eE. \0\xff"[..])];
    let one = prop_oneof![
        4 => (any::<Index>(), byte()).prop_map(|(at, byte)| Damage::Set(at, byte)),
        2 => (any::<Index>(), 0..8_u8).prop_map(|(at, bit)| Damage::Flip(at, bit)),
        2 => (any::<Index>(), prop::collection::vec(byte(), 1..20)).prop_map(|(at, more)| Damage::Insert(at, more)),
        2 => (any::<Index>(), 1..40_usize).prop_map(|(at, count)| Damage::Remove(at, count)),
        1 => (any::<Index>(), 1..400_usize, any::<Index>()).prop_map(|(from, count, to)| Damage::Copy(from, count, to)),
        1 => any::<Index>().prop_map(Damage::CutOff),
    ];
    prop::collection::vec(one, 1..4)
}

fn damaged(original: &[u8], damage: &[Damage]) -> Vec<u8> {
    let mut bytes = original.to_vec();
    for damage in damage {
        damage.apply(&mut bytes);
    }
    bytes
}

fn check<S: Strategy>(inputs: &S, test: impl Fn(S::Value) -> Result<(), TestCaseError>) {
    check_one_in(1, inputs, test);
}

fn check_one_in<S: Strategy>(cases: u32, inputs: &S, test: impl Fn(S::Value) -> Result<(), TestCaseError>) {
    let counterexamples = FileFailurePersistence::Direct("tests/counterexamples.txt");
    let mut config = Config::with_failure_persistence(counterexamples);
    config.cases = config.cases.div_ceil(cases);
    if let Err(failure) = TestRunner::new(config).run(inputs, test) {
        panic!("{failure}");
    }
}

fn line() -> impl Strategy<Value = &'static str> {
    select(LOG.lines().collect::<Vec<_>>())
}

/// The golden log as it was signed at its end, and the hashes that prove its first event.
fn signed() -> (SigningKey, Checkpoint, String, Vec<String>) {
    let key = SigningKey::parse(PRIVATE_KEY).unwrap();
    let mut tree = Tree::default();
    for line in LOG.lines() {
        tree.push(&record_hash(line.as_bytes()), |_, _| ());
    }
    let note = key.sign(Position::from_sequence(tree.size()), tree.root());
    let tiles: HashMap<TileId, Vec<u8>> = tree.unfinished().map(|(id, tile)| (id, tile.to_vec())).collect();
    let hashes = Proof::Inclusion { leaf: 0, size: tree.size() }.from_tiles(&tiles).unwrap();
    let checkpoint = key.verifying_key().open(&note).unwrap();
    (key, checkpoint, note, hashes.iter().map(ToString::to_string).collect())
}

#[test]
fn a_damaged_line_is_rejected_or_encodes_back_to_itself() {
    check(&(line(), damage()), |(line, damage)| {
        let bytes = damaged(line.as_bytes(), &damage);
        let Ok(event) = CloudEvent::parse(&bytes) else { return Ok(()) };
        let _ = event.decode();
        let written = event.to_json();
        let again = CloudEvent::parse(&written).expect("what we write can be read");
        prop_assert_eq!(&again.to_json(), &written);
        let hides_metadata = again.metadatahash.is_some();
        match CloudEvent::try_from(&RecordedEvent::from(again)) {
            Ok(again) if hides_metadata => prop_assert!(again.to_json().len() < written.len()),
            Ok(again) => prop_assert_eq!(again.to_json(), written),
            Err(error) => prop_assert!(matches!(error.reason, Deviation::Blanks), "{error}"),
        }
        Ok(())
    });
}

#[test]
fn data_of_any_type_and_version_is_rejected_or_decodes_stably() {
    let known = select(&["LicensePurchased", "SalesReset", "EventVoided"][..]);
    let types = prop_oneof![known.prop_map(str::to_owned), any::<String>()];
    let inputs = (types, prop_oneof![0..4_i16, any::<i16>()], line(), damage());
    check(&inputs, |(event_type, version, line, damage)| {
        let data = damaged(recorded(line).data.as_bytes(), &damage);
        let data = String::from_utf8_lossy(&data);
        let Ok(event) = Event::decode(&event_type, version, &data) else { return Ok(()) };
        let (event_type, version, data) = event.encode();
        prop_assert_eq!(Event::decode(event_type, version, &data).unwrap(), event);
        Ok(())
    });
}

fn recorded(line: &str) -> RecordedEvent {
    CloudEvent::parse(line.as_bytes()).unwrap().into()
}

/// A row of the log as a binary COPY sends it.
fn row(line: &str) -> Vec<u8> {
    let event = recorded(line);
    let mut row = 7_i16.to_be_bytes().to_vec();
    let mut add = |value: &[u8]| {
        row.extend(i32::try_from(value.len()).unwrap().to_be_bytes());
        row.extend(value);
    };
    add(&event.position.get().to_be_bytes());
    add(event.event_id.as_uuid().as_bytes());
    add(&event.recorded_at.timestamp_micros().to_be_bytes());
    add(&event.schema_version.to_be_bytes());
    add(event.event_type.as_bytes());
    add(event.data.as_bytes());
    row.extend((-1_i32).to_be_bytes());
    row
}

#[test]
fn a_damaged_row_is_rejected_or_read_within_its_bounds() {
    check(&(line(), damage()), |(line, damage)| {
        let whole = row(line);
        prop_assert!(parse_row(&whole).is_ok());
        let bytes = damaged(&whole, &damage);
        let Ok(event) = parse_row(&bytes) else { return Ok(()) };
        let _ = event.decode();
        prop_assert!(event.data.len() + event.event_type.len() < bytes.len());
        Ok(())
    });
}

#[test]
fn a_damaged_checkpoint_is_rejected_or_states_what_was_signed() {
    let (key, checkpoint, note, _) = signed();
    check(&damage(), |damage| {
        let bytes = damaged(note.as_bytes(), &damage);
        let text = String::from_utf8_lossy(&bytes);
        if let Ok(opened) = key.verifying_key().open(&text) {
            prop_assert_eq!(&opened, &checkpoint);
        }
        prop_assert!(split_notes(&text).iter().all(|part| text.contains(part)));
        Ok(())
    });
}

#[test]
fn a_damaged_proof_is_rejected_or_proves_the_signed_event() {
    let (key, checkpoint, note, hashes) = signed();
    let first = LOG.lines().next().unwrap();
    let whole = json!({ "event": first, "hashes": hashes, "checkpoint": note }).to_string();
    let verified = proof::verify(&whole, key.verifying_key()).unwrap().unwrap();
    assert_eq!(verified, (first.to_owned(), checkpoint.clone()));
    check(&damage(), |damage| {
        let bytes = damaged(whole.as_bytes(), &damage);
        let text = String::from_utf8_lossy(&bytes);
        if let Ok(Ok(proved)) = proof::verify(&text, key.verifying_key()) {
            prop_assert_eq!(&proved, &(first.to_owned(), checkpoint.clone()));
        }
        Ok(())
    });
}

#[test]
fn a_damaged_export_is_detected() {
    let (_, checkpoint, note, _) = signed();
    let (runtime, folder) = (Runtime::new().unwrap(), TempDir::new().unwrap());
    let file = folder.path().join("log.ndjson");
    let verdict = |content: &[u8]| {
        fs::write(&file, content).unwrap();
        let source = Source::parse(file.to_str().unwrap(), None).unwrap();
        let signed = vec![Signed { checkpoint: checkpoint.clone(), note: note.clone() }];
        let evidence = Evidence { signed, ..Evidence::default() };
        runtime.block_on(verify(&source, None, evidence, Peaks::default(), None)).unwrap()
    };
    assert_eq!(verdict(LOG.as_bytes()).fault, None);
    check_one_in(FILE_CASES, &damage(), |damage| {
        let bytes = damaged(LOG.as_bytes(), &damage);
        let verdict = verdict(&bytes);
        prop_assert_eq!(verdict.fault.is_none(), bytes == LOG.as_bytes(), "{:?}", verdict.fault);
        Ok(())
    });
}

/// How far a file came that is continued.
fn continued(file: &Path) -> Option<Position> {
    Export::open(file).ok().map(|export| export.position)
}

#[test]
fn a_damaged_export_is_continued_after_a_complete_line_or_not_at_all() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("log.ndjson");
    check_one_in(FILE_CASES, &damage(), |damage| {
        fs::write(&file, damaged(LOG.as_bytes(), &damage)).unwrap();
        let Some(position) = continued(&file) else { return Ok(()) };
        let kept = fs::read(&file).unwrap();
        match kept.strip_suffix(b"\n") {
            None => prop_assert_eq!((kept.len(), position), (0, Position::START)),
            Some(lines) => {
                let last = lines.rsplit(|byte| *byte == b'\n').next().unwrap();
                prop_assert_eq!(CloudEvent::parse(last).unwrap().position, position);
            }
        }
        Ok(())
    });
}
