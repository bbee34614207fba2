//! Totals at any position or time.

use std::io::pipe;

use contract::position::Position;
use serde_json::Value;
use testing::{purchased, reset};

use crate::support::{SignedLog, audit, audited, auditor, text};

fn replay(log: &SignedLog, arguments: &[&str]) -> Value {
    let replayed = audit(&[&["replay", &log.event_store(), "--format", "json"], arguments].concat());
    assert!(replayed.status.success(), "{}", text(&replayed));
    serde_json::from_slice(&replayed.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn totals_replay_at_any_position_and_time_and_in_the_ambiguous_hour() {
    let log = SignedLog::create().await;
    // In Berlin, the hour from 2 to 3 occurs twice this night.
    log.databases.append_at("2026-10-25T00:30:00Z", &[purchased("pro", 19_900), purchased("pro", 19_900)]).await;
    log.databases.append_at("2026-10-25T01:30:00Z", &[purchased("basic", 4_900)]).await;
    log.databases.append_at("2026-10-26T10:00:00Z", &[reset(), purchased("pro", 100)]).await;

    let count = |totals: &Value, license: &str| totals["by_license"][license]["sales_count"].as_i64().unwrap();
    let now = replay(&log, &[]);
    assert_eq!((now["position"].as_i64(), count(&now, "pro"), count(&now, "basic")), (Some(5), 1, 0));
    let then = replay(&log, &["--at-position", "3"]);
    assert_eq!((count(&then, "pro"), count(&then, "basic")), (2, 1));
    let then = replay(&log, &["--at-time", "2026-10-25T00:59:59Z"]);
    assert_eq!((then["position"].as_i64(), count(&then, "pro"), count(&then, "basic")), (Some(2), 2, 0));

    let hours = replay(&log, &["--history", "hour"]);
    let hours = hours["history"].as_object().unwrap();
    let keys: Vec<&str> = hours.keys().map(String::as_str).collect();
    assert_eq!(keys, ["2026-10-25T02:00+01:00", "2026-10-25T02:00+02:00", "2026-10-26T11:00+01:00"]);
    assert_eq!(hours["2026-10-25T02:00+02:00"]["by_license"]["pro"]["sales_count"], 2);
    assert_eq!(hours["2026-10-26T11:00+01:00"]["resets"], 1);
    let days = replay(&log, &["--history", "day", "--time-zone", "America/New_York"]);
    assert_eq!(days["history"].as_object().unwrap().keys().collect::<Vec<_>>(), ["2026-10-24", "2026-10-26"]);

    audited(2, &["replay", &log.event_store(), "--at-position", "6"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn totals_that_do_not_match_the_log_are_detected() {
    let log = SignedLog::create().await;
    log.fill(250).await;
    let [event_store, read_model, address] = &log.both();
    let equal = audited(0, &["replay", event_store, read_model, address]);
    assert!(equal.contains("the read model holds the same totals for position 250"), "{equal}");
    log.databases
        .change_read_model("update license_total set revenue_minor = revenue_minor + 1 where license = 'pro'")
        .await;
    let different = audited(1, &["replay", event_store, read_model, address]);
    assert!(different.contains("WRONG: for position 250"), "{different}");
    let (reader, output) = pipe().unwrap();
    drop(reader);
    let unread = auditor().args(["replay", event_store, read_model, address]).stdout(output).status().unwrap();
    assert_eq!(unread.code(), Some(1), "the verdict stands, also if no one reads it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_history_that_does_not_match_the_log_is_detected() {
    let log = SignedLog::create().await;
    log.fill(250).await;
    let [event_store, read_model, address] = &log.both();
    for interval in ["minute", "hour", "day", "month"] {
        let equal = audited(0, &["replay", event_store, read_model, address, "--history", interval]);
        assert!(equal.contains("the read model holds the same history"), "{equal}");
    }
    for (falsify, repair) in [
        (
            "update history_bucket set sales_count = sales_count + 1 where license = 'pro'",
            "update history_bucket set sales_count = sales_count - 1 where license = 'pro'",
        ),
        ("update history_reset set reset_at = reset_at - interval '1 day' where position = 100", "select"),
    ] {
        log.databases.change_read_model(falsify).await;
        let different = audited(1, &["replay", event_store, read_model, address, "--history", "day"]);
        assert!(different.contains("WRONG: the history"), "{different}");
        log.databases.change_read_model(repair).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_ends_before_the_read_model_is_compared_at_a_snapshot() {
    let log = SignedLog::create().await;
    let projector = log.projector().await;
    let [event_store, read_model, address] = &log.both();
    let file = log.file("log.ndjson");
    let export = || audited(0, &["export", event_store, read_model, address, "-o", &file]);
    let replay = |code| audited(code, &["replay", &file, read_model, address]);
    log.grow(120).await;
    export();
    let head = log.grow(10_000).await;
    log.projected(head).await;
    let early = replay(0);
    assert!(early.contains("position           120") && early.contains("not compared"), "{early}");

    export();
    let head = log.grow(10).await;
    log.projected(head).await;
    projector.kill();
    let equal = replay(0);
    let same = "the read model holds the same totals for position 10000";
    assert!(equal.contains("position           10120") && equal.contains(same), "{equal}");
    log.databases
        .change_read_model("update totals_snapshot set sales_count = sales_count + 1 where position = 10000")
        .await;
    let different = replay(1);
    assert!(different.contains("WRONG: for position 10000"), "{different}");
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_reports_an_event_that_no_projector_can_count() {
    let log = SignedLog::create().await;
    let events = [purchased("pro", 1), purchased("pro", 10_000_000_000_000_000)];
    log.databases.append_at("2026-11-01 12:00:00+00", &events).await;
    log.databases.append_at("2026-11-01 13:00:00+00", &[purchased("pro", 1)]).await;
    let verdict = audited(1, &["verify", &log.event_store(), "--well-formed"]);
    assert!(verdict.contains("WRONG at position 2: "), "{verdict}");
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_every_published_version_are_replayed() {
    let log = SignedLog::create().await;
    let published: Vec<Value> =
        serde_json::from_str(include_str!("../../../../shared/contract/golden/events.json")).unwrap();
    for event in &published {
        let (event_type, version, data) = (&event["type"], &event["version"], event["data"].as_str().unwrap());
        let event_type = event_type.as_str().unwrap();
        if event_type == "EventVoided" {
            // Without effect, as the log has no event at its position: `append_events` refuses it.
            log.databases.append_unchecked(&[(event_type, data.to_owned())]).await;
            continue;
        }
        let values = format!("array['{event_type}'], array[{version}::smallint], array['{data}'], array[null]");
        let append = format!("select append_events(array[gen_random_uuid()], {values})");
        log.databases.change_event_store(&append).await;
    }
    let before = replay(&log, &["--at-position", "2"]);
    for (license, revenue) in [("basic", 4_900), ("enterprise", 99_900)] {
        let sold = &before["by_license"][license];
        assert_eq!((&sold["sales_count"], &sold["revenue"]["amount_minor"]), (&1.into(), &revenue.into()), "{license}");
    }
    for reset in ["3", "4", "5"] {
        let after = replay(&log, &["--at-position", reset]);
        assert_eq!(after["by_license"]["basic"]["sales_count"], 0, "behind {reset}");
    }
    let replayed = replay(&log, &[]);
    let end = Position::try_from(replayed["position"].as_i64().unwrap()).unwrap();
    assert_eq!(end.as_sequence(), published.len() as u64);
    audited(0, &["verify", &log.event_store(), "--well-formed"]);
}
