//! Golden vectors for other verifiers. Vectors are added, never changed.

use std::collections::HashMap;

use contract::{cloud_event::CloudEvent, position::Position, recorded_event::RecordedEvent};
use event_log::transparency::{
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

/// Hashes, roots, checkpoints and proofs of a log, for every size.
fn vectors(log: &str, key: &SigningKey) -> Value {
    let leaves: Vec<Hash> = log.lines().map(|line| record_hash(line.as_bytes())).collect();
    let (mut tree, mut roots, mut checkpoints) = (Tree::default(), Vec::new(), Vec::new());
    let (mut inclusion, mut consistency) = (Vec::new(), Vec::new());
    for leaf in &leaves {
        tree.push(leaf, |_, _| ());
        roots.push(tree.root());
        checkpoints.push(key.sign(Position::from_sequence(tree.size()), tree.root()));
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
    let expected: Value = serde_json::from_slice(&std::fs::read(golden("vectors.json")).unwrap()).unwrap();
    let found = vectors(&log, &key);
    for part in ["public_key", "leaf_hashes", "roots", "checkpoints", "inclusion_proofs", "consistency_proofs"] {
        assert_eq!(found[part], expected[part], "{part}");
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
    for part in ["leaf_hashes", "roots", "checkpoints", "metadata", "inclusion_proofs", "consistency_proofs"] {
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
