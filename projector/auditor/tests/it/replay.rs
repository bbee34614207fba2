//! Totals at any position or time.

use contract::position::Position;
use serde_json::Value;
use testing::{eventually, purchased, reset};

use crate::support::{SignedLog, audit, text};

async fn append_at(log: &SignedLog, time: &str, events: &[(&str, String)]) {
    let head = log.databases.append(events).await;
    let first = head - i64::try_from(events.len()).unwrap() + 1;
    // As the database of that day would have written it.
    let mut connection = log.databases.event_store().acquire().await.unwrap();
    sqlx::raw_sql("set session_replication_role = replica").execute(&mut *connection).await.unwrap();
    let update = sqlx::query("update event set recorded_at = $2::timestamptz where position >= $1");
    update
        .bind(first)
        .bind(time.parse::<chrono::DateTime<chrono::Utc>>().unwrap())
        .execute(&mut *connection)
        .await
        .unwrap();
    sqlx::raw_sql("reset session_replication_role").execute(&mut *connection).await.unwrap();
}

fn replay(log: &SignedLog, arguments: &[&str]) -> Value {
    let event_store = log.databases.event_store_url("auditor");
    let replayed = audit(&[&["replay", &event_store, "--format", "json"], arguments].concat());
    assert!(replayed.status.success(), "{}", text(&replayed));
    serde_json::from_slice(&replayed.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn totals_replay_at_any_position_and_time_and_in_the_ambiguous_hour() {
    let log = SignedLog::create().await;
    // In Berlin, the hour from 2 to 3 occurs twice this night.
    append_at(&log, "2026-10-25T00:30:00Z", &[purchased("pro", 19_900), purchased("pro", 19_900)]).await;
    append_at(&log, "2026-10-25T01:30:00Z", &[purchased("basic", 4_900)]).await;
    append_at(&log, "2026-10-26T10:00:00Z", &[reset(), purchased("pro", 100)]).await;

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

    let beyond = audit(&["replay", &log.databases.event_store_url("auditor"), "--at-position", "6"]);
    assert_eq!(beyond.status.code(), Some(2), "{}", text(&beyond));
}

#[tokio::test(flavor = "multi_thread")]
async fn totals_that_do_not_match_the_log_are_detected() {
    let log = SignedLog::create().await;
    let projector = log.projector().await;
    let head = log.grow(250).await;
    eventually("the log is projected", async || log.databases.checkpoint().await == head).await;
    projector.kill();
    let (event_store, read_model) = (log.databases.event_store_url("auditor"), log.databases.read_model_url("auditor"));
    let compare = || audit(&["replay", &event_store, "--read-model", &read_model]);
    let equal = compare();
    assert!(equal.status.success(), "{}", text(&equal));
    assert!(text(&equal).contains("the read model holds the same totals for position 250"), "{}", text(&equal));
    sqlx::raw_sql("update license_total set revenue_minor = revenue_minor + 1 where license = 'pro'")
        .execute(log.databases.read_model())
        .await
        .unwrap();
    let different = compare();
    assert_eq!(different.status.code(), Some(1), "{}", text(&different));
    assert!(text(&different).contains("WRONG: for position 250"), "{}", text(&different));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_history_that_does_not_match_the_log_is_detected() {
    let log = SignedLog::create().await;
    let projector = log.projector().await;
    let head = log.grow(250).await;
    eventually("the log is projected", async || log.databases.checkpoint().await == head).await;
    projector.kill();
    let (event_store, read_model) = (log.databases.event_store_url("auditor"), log.databases.read_model_url("auditor"));
    let compare = |interval| audit(&["replay", &event_store, "--read-model", &read_model, "--history", interval]);
    for interval in ["minute", "hour", "day", "month"] {
        let equal = compare(interval);
        assert!(equal.status.success(), "{}", text(&equal));
        assert!(text(&equal).contains("the read model holds the same history"), "{}", text(&equal));
    }
    for (falsify, repair) in [
        (
            "update history_bucket set sales_count = sales_count + 1 where license = 'pro'",
            "update history_bucket set sales_count = sales_count - 1 where license = 'pro'",
        ),
        ("update history_reset set reset_at = reset_at - interval '1 day' where position = 100", "select"),
    ] {
        sqlx::raw_sql(falsify).execute(log.databases.read_model()).await.unwrap();
        let different = compare("day");
        assert_eq!(different.status.code(), Some(1), "{}", text(&different));
        assert!(text(&different).contains("WRONG: the history"), "{}", text(&different));
        sqlx::raw_sql(repair).execute(log.databases.read_model()).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_ends_before_the_read_model_is_compared_at_a_snapshot() {
    let log = SignedLog::create().await;
    let projector = log.projector().await;
    let (event_store, read_model) = (log.databases.event_store_url("auditor"), log.databases.read_model_url("auditor"));
    let file = log.file("log.ndjson");
    let path = file.to_str().unwrap();
    let export = || {
        let exported = audit(&["export", &event_store, "--read-model", &read_model, "-o", path]);
        assert!(exported.status.success(), "{}", text(&exported));
    };
    let replay = || audit(&["replay", path, "--read-model", &read_model]);
    log.grow(120).await;
    export();
    let head = log.grow(10_000).await;
    eventually("the log is projected", async || log.databases.checkpoint().await == head).await;
    let early = replay();
    assert!(early.status.success(), "{}", text(&early));
    let told = text(&early);
    assert!(told.contains("position           120") && told.contains("not compared"), "{told}");

    export();
    let head = log.grow(10).await;
    eventually("the log is projected", async || log.databases.checkpoint().await == head).await;
    projector.kill();
    let equal = replay();
    assert!(equal.status.success(), "{}", text(&equal));
    let told = text(&equal);
    let same = "the read model holds the same totals for position 10000";
    assert!(told.contains("position           10120") && told.contains(same), "{told}");
    sqlx::raw_sql("update totals_snapshot set sales_count = sales_count + 1 where position = 10000")
        .execute(log.databases.read_model())
        .await
        .unwrap();
    let different = replay();
    assert_eq!(different.status.code(), Some(1), "{}", text(&different));
    assert!(text(&different).contains("WRONG: for position 10000"), "{}", text(&different));
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_every_published_version_are_replayed() {
    let log = SignedLog::create().await;
    let published: Vec<Value> =
        serde_json::from_str(include_str!("../../../../shared/contract/golden/events.json")).unwrap();
    for event in &published {
        let insert = sqlx::query(
            "select append_events(array[gen_random_uuid()], array[$1::text], array[$2::smallint], array[$3::text], array[null::text])",
        );
        insert
            .bind(event["type"].as_str().unwrap())
            .bind(i16::try_from(event["version"].as_i64().unwrap()).unwrap())
            .bind(event["data"].as_str().unwrap())
            .execute(log.databases.event_store())
            .await
            .unwrap();
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
    let verified = audit(&["verify", &log.databases.event_store_url("auditor")]);
    assert!(verified.status.success(), "{}", text(&verified));
}
