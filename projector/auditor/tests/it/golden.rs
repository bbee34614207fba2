//! Golden vectors for other verifiers. Vectors are added, never changed.

use std::collections::HashMap;

use chrono::DateTime;
use contract::{cloud_event::CloudEvent, position::Position, recorded_event::RecordedEvent};
use event_log::transparency::{
    cosignature::{CosigningKey, WitnessKey},
    merkle::{Hash, Proof, TileId, Tree, record_hash},
    signed_checkpoint::SigningKey,
};
use serde_json::{Value, json};

use crate::support::{SignedLog, audited, second_verifier, text};

fn golden(name: &str) -> String {
    format!("{}/../../shared/contract/golden/{name}", env!("CARGO_MANIFEST_DIR"))
}

fn strings(hashes: &[Hash]) -> Vec<String> {
    hashes.iter().map(ToString::to_string).collect()
}

/// Hashes, roots, checkpoints, with and without a cosignature, and proofs of a log, for every size.
fn vectors(log: &str, key: &SigningKey, witness: &CosigningKey) -> Value {
    let leaves: Vec<Hash> = log.lines().map(|line| record_hash(line.as_bytes())).collect();
    let (mut tree, mut roots) = (Tree::default(), Vec::new());
    let (mut checkpoints, mut timed_checkpoints, mut cosigned) = (Vec::new(), Vec::new(), Vec::new());
    let (mut inclusion, mut consistency) = (Vec::new(), Vec::new());
    for leaf in &leaves {
        tree.push(leaf, |_, _| ());
        roots.push(tree.root());
        let position = Position::from_sequence(tree.size());
        let note = key.sign(position, tree.root());
        let time = DateTime::from_timestamp(1_796_000_000 + position.get(), 0).unwrap();
        cosigned.push(note.clone() + &witness.cosign(&note, time).unwrap());
        checkpoints.push(note);
        let time = DateTime::from_timestamp_micros(1_796_065_200_000_001 + 1_000_000 * position.get()).unwrap();
        timed_checkpoints.push(key.sign_at(position, tree.root(), time));
        let tiles: HashMap<TileId, Vec<u8>> = tree.unfinished().map(|(id, tile)| (id, tile.to_vec())).collect();
        let size = tree.size();
        for n in 0..size {
            let hashes = strings(&Proof::Inclusion { leaf: n, size }.from_tiles(&tiles).unwrap());
            inclusion.push(json!({ "leaf": n, "size": size, "hashes": hashes }));
            let older = n + 1;
            let hashes = strings(&Proof::Consistency { older, size }.from_tiles(&tiles).unwrap());
            consistency.push(json!({ "older": older, "size": size, "hashes": hashes }));
        }
    }
    json!({
        "public_key": key.verifying_key().to_string(),
        "leaf_hashes": strings(&leaves),
        "roots": strings(&roots),
        "checkpoints": checkpoints,
        "witness_public_key": witness.witness_key().to_string(),
        "cosigned_checkpoints": cosigned,
        "timed_checkpoints": timed_checkpoints,
        "inclusion_proofs": inclusion,
        "consistency_proofs": consistency,
    })
}

#[test]
fn this_system_produces_the_golden_vectors() {
    let log = std::fs::read_to_string(golden("log.ndjson")).unwrap();
    for line in log.lines() {
        let event = CloudEvent::parse(line.as_bytes()).unwrap();
        assert_eq!(String::from_utf8(event.to_json()).unwrap(), line);
        event.decode().unwrap();
    }
    let key = SigningKey::parse(&std::fs::read_to_string(golden("private-key")).unwrap()).unwrap();
    let witness = CosigningKey::parse(&std::fs::read_to_string(golden("witness-private-key")).unwrap()).unwrap();
    let expected: Value = serde_json::from_slice(&std::fs::read(golden("vectors.json")).unwrap()).unwrap();
    let found = vectors(&log, &key, &witness);
    for (part, found) in found.as_object().unwrap() {
        assert_eq!(*found, expected[part], "{part}");
    }
    let witness = WitnessKey::parse(expected["witness_public_key"].as_str().unwrap()).unwrap();
    for (size, note) in (1..).zip(expected["cosigned_checkpoints"].as_array().unwrap()) {
        let note = note.as_str().unwrap();
        assert_eq!(key.verifying_key().open(note).unwrap().position.get(), size);
        assert_eq!(witness.cosignature(note).unwrap().time.timestamp(), 1_796_000_000 + size);
    }
    let metadata = expected["metadata"].as_array().unwrap();
    assert_eq!(metadata.len(), log.lines().count());
    for (line, metadata) in log.lines().zip(metadata) {
        let mut event = RecordedEvent::from(CloudEvent::parse(line.as_bytes()).unwrap());
        event.metadata = metadata.as_str().map(str::to_owned).or(event.metadata);
        assert_eq!(String::from_utf8(CloudEvent::try_from(&event).unwrap().to_json()).unwrap(), line);
    }
}

#[test]
fn the_second_verifier_accepts_the_golden_vectors_and_no_others() {
    let (vectors, log) = (golden("vectors.json"), golden("log.ndjson"));
    let agrees = second_verifier(&[&vectors, &log], "vectors");
    assert!(agrees.status.success(), "{}", text(&agrees));

    let folder = tempfile::tempdir().unwrap();
    let changed = folder.path().join("vectors.json").to_str().unwrap().to_owned();
    let original: Value = serde_json::from_slice(&std::fs::read(&vectors).unwrap()).unwrap();
    let parts = [
        "leaf_hashes",
        "roots",
        "checkpoints",
        "timed_checkpoints",
        "cosigned_checkpoints",
        "metadata",
        "inclusion_proofs",
        "consistency_proofs",
    ];
    for part in parts {
        let mut vectors = original.clone();
        let entries = vectors[part].as_array_mut().unwrap();
        let (last, before) = (entries.len() - 1, entries.len() - 2);
        entries.swap(last, before);
        if let (Some(size), true) = (entries[last].get("size").cloned(), part.ends_with("proofs")) {
            // The same statement as before, with the proof of another one.
            let hashes = entries[before]["hashes"].clone();
            entries[last] = json!({ "leaf": 2, "older": 3, "size": size, "hashes": hashes });
        }
        std::fs::write(&changed, vectors.to_string()).unwrap();
        let disagrees = second_verifier(&[&changed, &log], "vectors");
        assert_eq!(disagrees.status.code(), Some(1), "{part}: {}", text(&disagrees));
    }
    // The cosignature of another checkpoint, which the log has signed as well.
    let mut vectors = original;
    let cosigned = vectors["cosigned_checkpoints"].as_array_mut().unwrap();
    let lines: Vec<_> = cosigned.iter().map(|note| note.as_str().unwrap().lines().last().unwrap().to_owned()).collect();
    cosigned[1] = json!(cosigned[1].as_str().unwrap().replace(&lines[1], &lines[2]));
    std::fs::write(&changed, vectors.to_string()).unwrap();
    let disagrees = second_verifier(&[&changed, &log], "vectors");
    assert!(text(&disagrees).contains("WRONG: a cosignature is wrong"), "{}", text(&disagrees));
}

#[tokio::test(flavor = "multi_thread")]
async fn both_verifiers_agree_on_an_export_and_on_a_changed_one() {
    let log = SignedLog::create().await;
    let projector = log.projector().await;
    log.grow(300).await;
    log.grow(33).await;
    projector.kill();
    let (export, key) = (log.file("log.ndjson"), log.public_key_file());
    let [event_store, read_model, address] = &log.both();
    audited(0, &["export", event_store, read_model, address, "--output", &export]);

    let checkpoints = log.checkpoints_file();
    let assert_verdict = |code| {
        audited(code, &["verify", &export, "--public-key", &key, "--checkpoints", &checkpoints]);
        let second = second_verifier(&[&export, &checkpoints, &key], "log");
        assert_eq!(second.status.code(), Some(code), "{}", text(&second));
    };
    assert_verdict(0);

    let lines = std::fs::read_to_string(&export).unwrap();
    std::fs::write(&export, lines.replacen(r#""amount_minor":19900"#, r#""amount_minor":19901"#, 1)).unwrap();
    assert_verdict(1);
}
