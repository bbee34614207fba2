//! The owner of the log signs two histories.

use std::fs;

use contract::position::Position;
use event_log::transparency::merkle::record_hash;

use crate::support::{SignedLog, audited};

const FORK: &str = "the owner of the log signed two histories";

#[tokio::test(flavor = "multi_thread")]
async fn two_signed_notes_of_one_size_are_called_what_they_are_and_kept() {
    let log = SignedLog::create().await;
    log.fill(30).await;
    let (kept, key) = (log.file("kept.txt"), log.public_key_file());
    let other = log.key.sign(Position::from_sequence(30), record_hash(b"another history"));
    fs::write(&kept, &other).unwrap();
    let query_api = log.databases.query_api().await;
    let [event_store, read_model, address] = &log.both();
    let evidence = log.file("kept.txt.evidence");
    for source in [&[event_store, read_model, address][..], &[&query_api.url()]] {
        for command in ["verify", "checkpoint"] {
            let from = source.iter().map(|argument| argument.as_str());
            let option = if command == "verify" { "--checkpoints" } else { "--file" };
            let arguments: Vec<_> =
                [command].into_iter().chain(from).chain(["--public-key", &key, option, &kept]).collect();
            let verdict = audited(1, &arguments);
            assert!(verdict.contains(FORK) && verdict.contains("position 30"), "{verdict}");
            for note in [&other, &log.notes().pop().unwrap()] {
                assert!(verdict.contains(note.trim_end()), "{verdict}");
                assert_eq!(fs::read_to_string(&evidence).unwrap().matches(note.as_str()).count(), 1);
            }
            if command == "checkpoint" {
                fs::remove_file(&evidence).unwrap();
            }
        }
    }
    assert_eq!(fs::read_to_string(&kept).unwrap(), other);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_note_of_another_history_is_proved_by_a_later_one_that_the_log_has() {
    let log = SignedLog::create().await;
    log.fill(30).await;
    let (kept, key) = (log.file("kept.txt"), log.public_key_file());
    let other = log.key.sign(Position::from_sequence(20), record_hash(b"another history"));
    fs::write(&kept, &other).unwrap();
    let [event_store, read_model, address] = &log.both();
    let verdict =
        audited(1, &["verify", event_store, read_model, address, "--public-key", &key, "--checkpoints", &kept]);
    let proved = format!("{FORK}: no log has both the checkpoint for position 20 and that for 30");
    assert!(verdict.contains("WRONG within positions 1 to 20") && verdict.contains(&proved), "{verdict}");
    assert!(fs::read_to_string(log.file("kept.txt.evidence")).unwrap().contains(&other));
}
