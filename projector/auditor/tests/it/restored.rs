//! A restore that an operator has stated is told apart from fraud, and so is an event store that is no longer protected.

use std::fs;

use crate::support::{SignedLog, audited};

#[tokio::test(flavor = "multi_thread")]
async fn checkpoints_of_lost_events_are_given_up_by_a_stated_restore_alone() {
    let log = SignedLog::create().await;
    let projector = log.projector().await;
    log.grow(60).await;
    log.grow(40).await;
    projector.kill();
    let (kept, key) = (log.file("kept.txt"), log.public_key_file());
    fs::write(&kept, log.notes().concat()).unwrap();
    log.databases.tamper("delete from event where position > 80; update head set position = 80").await;
    let [event_store, read_model, address] = &log.both();
    let verify = ["verify", event_store, read_model, address, "--public-key", &key, "--checkpoints", &kept];
    let fraud = audited(1, &verify);
    assert!(fraud.contains("positions 81 to 100"), "{fraud}");

    log.decide(&["restored", "--to", "80", "--actor", "olga", "--reason", "the disk was lost"]).await;
    log.databases.rebuild().await;
    let projector = log.projector().await;
    log.grow(30).await;
    let verdict = audited(4, &verify);
    assert!(
        verdict.contains("restored           to position 80") && verdict.contains("the disk was lost"),
        "{verdict}"
    );
    assert!(verdict.contains("RESTORED: no fault found in what is left"), "{verdict}");
    let query_api = log.databases.query_api().await;
    let checkpoint = ["checkpoint", &query_api.url(), "--public-key", &key, "--file", &kept];
    let fetched = audited(0, &checkpoint);
    assert!(fetched.contains("RESTORED to position 80"), "{fetched}");
    projector.kill();

    // What was signed later is binding, and so is what the restore has kept.
    log.databases
        .tamper("update event set recorded_at = recorded_at + interval '1 microsecond' where position = 50")
        .await;
    let fraud = audited(1, &verify);
    assert!(fraud.contains("WRONG at position 50") && !fraud.contains("renumbered"), "{fraud}");
    log.databases.change_read_model("delete from checkpoint_statement").await;
    audited(1, &verify);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_store_that_is_no_longer_protected_is_wrong() {
    let log = SignedLog::create().await;
    log.fill(20).await;
    let key = log.public_key_file();
    let [event_store, read_model, address] = &log.both();
    let verify = ["verify", event_store, read_model, address, "--public-key", &key];
    audited(0, &verify);
    log.databases.tamper("alter table event drop constraint event_position_starts_at_one").await;
    let verdict = audited(1, &verify);
    assert!(verdict.contains("it lacks \"constraint event.event_position_starts_at_one"), "{verdict}");
    log.databases
        .tamper(
            "insert into event select 0, recorded_at, gen_random_uuid(), 1, event_type, data, metadata from event where position = 1",
        )
        .await;
    let verdict = audited(1, &verify);
    assert!(verdict.contains("there is an event at position 0, before the beginning of the log"), "{verdict}");
}
