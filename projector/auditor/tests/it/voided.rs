//! Events that do not count, by decision of an operator.

use std::fs;

use serde_json::Value;
use testing::{purchased, reset};

use crate::support::{SignedLog, audit, audited, text};

/// Positions 1 to 6. The event at 2 is broken, and the one at 5 voids it.
async fn a_log_with_a_decision() -> SignedLog {
    let log = SignedLog::create().await;
    let broken = purchased("pro", i64::MAX);
    log.databases.append_unchecked(&[purchased("pro", 100), broken, purchased("pro", 100), reset()]).await;
    let ended = log.databases.void(2, "amount out of range", "Ada Example").await;
    assert!(ended.success, "{}", ended.log);
    log.databases.append(&[purchased("basic", 1)]).await;
    log
}

fn sold(log: &SignedLog, arguments: &[&str]) -> (i64, i64) {
    let replayed = audit(&[&["replay", &log.event_store(), "--format", "json"], arguments].concat());
    assert!(replayed.status.success(), "{}", text(&replayed));
    let totals: Value = serde_json::from_slice(&replayed.stdout).unwrap();
    let count = |license: &str| totals["by_license"][license]["sales_count"].as_i64().unwrap();
    (count("pro"), count("basic"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_is_reported_and_the_voided_event_is_no_fault() {
    let log = a_log_with_a_decision().await;
    let _projector = log.projector().await;
    log.signed(6).await;
    log.projected(6).await;
    let [event_store, read_model, address] = &log.both();
    let key = log.public_key_file();
    let verdict = audited(0, &["verify", event_store, read_model, address, "--public-key", &key]);
    let decision = r#"at position 5 voids the event at position 2: "amount out of range""#;
    assert!(verdict.contains(decision) && verdict.contains("no fault found"), "{verdict}");
    let same = audited(0, &["replay", event_store, read_model, address, "--history", "minute"]);
    assert!(same.contains("the same totals") && same.contains("the same history"), "{same}");

    // An export has both events. Without the decision, the first of them is a fault again.
    let export = log.file("log.ndjson");
    audited(0, &["export", event_store, read_model, address, "--output", &export]);
    let verdict = audited(0, &["verify", &export, "--public-key", &key, "--json"]);
    assert!(verdict.contains(r#""voids": 2"#) && verdict.contains(r#""has_effect": true"#), "{verdict}");
    let lines = fs::read_to_string(&export).unwrap();
    assert!(lines.contains(&i64::MAX.to_string()) && lines.contains("EventVoided"), "{lines}");
    let cut: String = lines.split_inclusive('\n').take(4).collect();
    let file = log.file("cut.ndjson");
    fs::write(&file, &cut).unwrap();
    for command in ["verify", "replay"] {
        let failed = audit(&[command, &file]);
        assert!(!failed.status.success() && text(&failed).contains("position 2: "), "{}", text(&failed));
    }
    let first = lines.split_inclusive('\n').next().unwrap();
    fs::write(&file, cut + first).unwrap();
    let verdict = audited(1, &["verify", &file, "--well-formed"]);
    assert!(verdict.contains("WRONG at position 1: it comes once more"), "{verdict}");

    let query_api = log.databases.query_api().await;
    let verdict = audited(0, &["verify", &query_api.url(), "--public-key", &key]);
    assert!(verdict.contains(decision), "{verdict}");
    let replayed = audited(0, &["replay", &query_api.url(), "--at-position", "3"]);
    assert!(replayed.contains("2 sold for EUR 2.00"), "{replayed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_was_broken_after_it_was_signed_is_told_from_one_that_was_appended_so() {
    let log = SignedLog::create().await;
    log.databases.append(&[purchased("pro", 1), purchased("basic", 1)]).await;
    let projector = log.projector().await;
    log.signed(2).await;
    drop(projector);
    log.databases.tamper("update event set data = '{}' where position = 2").await;
    let [event_store, ..] = &log.both();
    let verdict = audited(
        1,
        &["verify", event_store, "--public-key", &log.public_key_file(), "--checkpoints", &log.checkpoints_file()],
    );
    assert!(verdict.contains("WRONG at position 2: it cannot be counted"), "{verdict}");
    assert!(verdict.contains("up to position 2 the log is not the one that was signed"), "{verdict}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_leaves_a_voided_event_out_also_before_the_decision() {
    let log = a_log_with_a_decision().await;
    for (position, expected) in (1..).zip([(1, 0), (1, 0), (2, 0), (0, 0), (0, 0), (0, 1)]) {
        let sold = sold(&log, &["--at-position", &format!("{position}")]);
        assert_eq!(sold, expected, "at position {position}");
    }
    assert_eq!(sold(&log, &[]), (0, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_about_any_other_event_is_reported_as_without_effect() {
    let log = SignedLog::create().await;
    let decision = |position: i64| ("EventVoided", format!(r#"{{"position":{position},"reason":"forged"}}"#));
    let decisions = [decision(1), decision(2), decision(4), decision(6)];
    log.databases.append_unchecked(&[&[purchased("pro", 100)][..], &decisions, &[purchased("pro", 1)]].concat()).await;
    let verdict = audited(0, &["verify", &log.event_store(), "--well-formed"]);
    for position in [1, 2, 4, 6] {
        let without = format!(r#"has no effect on the event at position {position}: "forged""#);
        assert!(verdict.contains(&without), "{without} is missing in {verdict}");
    }
    assert_eq!(sold(&log, &[]), (2, 0));
    // Neither in front of the event, nor about a type that a newer version may count.
    let rented = ("LicenseRented", "{}".to_owned());
    for (event, name) in [(purchased("pro", i64::MAX), "in front"), (rented, "newer")] {
        let log = SignedLog::create().await;
        let events = if name == "newer" { [event, decision(1)] } else { [decision(2), event] };
        log.databases.append_unchecked(&events).await;
        let (code, expected) =
            if name == "newer" { (3, "the first at position 1: unknown") } else { (1, "WRONG at position 2: ") };
        let verdict = audited(code, &["verify", &log.event_store(), "--well-formed"]);
        assert!(verdict.contains(expected), "{name}: {verdict}");
    }
}
