//! What was not compared is never a success, and hides no fault that is proved otherwise.

use std::fs;

use crate::support::{SignedLog, audited};

const PRICE: &str =
    "update event set data = '{\"license\":\"pro\",\"price\":{\"amount_minor\":1,\"currency\":\"EUR\"}}'";

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_was_compared_with_nothing_is_not_right() {
    let log = SignedLog::create().await;
    log.fill(30).await;
    let (file, empty, key) = (log.file("log.ndjson"), log.file("empty.ndjson"), log.public_key_file());
    let [event_store, read_model, address] = &log.both();
    audited(0, &["export", event_store, read_model, address, "--output", &file]);
    fs::write(&empty, "").unwrap();
    let checkpoints = log.file("log.ndjson.checkpoints");
    audited(0, &["verify", &file, "--public-key", &key]);
    let nothing = "UNKNOWN: no fault found, but not everything was compared";
    for arguments in [
        &["verify", &file][..],
        &["verify", event_store],
        &["verify", event_store, "--public-key", &key],
        &["verify", &empty],
        &["verify", &empty, "--public-key", &key],
    ] {
        let verdict = audited(2, arguments);
        assert!(verdict.contains(nothing), "{verdict}");
        assert!(verdict.contains("NOT COMPARED       the log with any signed checkpoint"), "{verdict}");
    }
    let verdict = audited(2, &["verify", &file, "--json"]);
    assert!(verdict.contains("\"not_compared\": ["), "{verdict}");
    let verdict = audited(1, &["verify", &empty, "--public-key", &key, "--checkpoints", &checkpoints]);
    assert!(verdict.contains("30 events are missing"), "{verdict}");
    for source in [&file, event_store] {
        let verdict = audited(0, &["verify", source, "--well-formed"]);
        assert!(verdict.contains("well-formed; not compared with any checkpoint"), "{verdict}");
    }
    fs::remove_file(&checkpoints).unwrap();
    audited(2, &["verify", &file, "--public-key", &key]);
}

/// Every way in which the newest checkpoint may be useless.
fn useless_checkpoints(log: &SignedLog, other: &SignedLog) -> [(&'static str, String); 4] {
    let newest = log.checkpoints().pop().unwrap();
    let foreign = other.key.sign(newest.position, newest.root);
    let forged = log.notes().pop().unwrap().replacen("sales.example/test\n", "sales.example/test\n1", 1);
    let sql = |note: &str| format!("update tree_head set checkpoint = '{note}'");
    [
        ("null", "update tree_head set checkpoint = null".to_owned()),
        ("garbage", sql("null")),
        ("another key", sql(&foreign)),
        ("forged", sql(&forged)),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_useless_newest_checkpoint_hides_no_fault_that_an_older_one_proves() {
    let (log, other) = (SignedLog::create().await, SignedLog::create().await);
    let projector = log.projector().await;
    log.grow(60).await;
    log.grow(40).await;
    projector.kill();
    let query_api = log.databases.query_api().await;
    let url = query_api.url();
    let (kept, key) = (log.checkpoints_file(), log.public_key_file());
    let [event_store, read_model, address] = &log.both();
    let from_databases = ["verify", event_store, read_model, address, "--public-key", &key, "--checkpoints", &kept];
    let over_http = ["verify", &url, "--public-key", &key, "--checkpoints", &kept];
    let useless = useless_checkpoints(&log, &other);
    for (what, statement) in &useless {
        log.databases.change_read_model(statement).await;
        for arguments in [&from_databases[..], &over_http] {
            let verdict = audited(2, arguments);
            assert!(verdict.contains("NOT COMPARED       the newest checkpoint of"), "{what}: {verdict}");
            assert!(verdict.contains("3 agree, the newest for position 100"), "{what}: {verdict}");
        }
    }
    log.databases.tamper(&format!("{PRICE} where position = 77")).await;
    for (what, statement) in &useless {
        log.databases.change_read_model(statement).await;
        let verdict = audited(1, &from_databases);
        assert!(verdict.contains("NOT COMPARED"), "{what}: {verdict}");
        assert!(verdict.contains("WRONG at position 77: it is not the event"), "{what}: {verdict}");
        // query-api makes no proof without a checkpoint.
        let verdict = audited(1, &over_http);
        let place = if *what == "another key" { "at position 77" } else { "within positions 61 to 100" };
        assert!(verdict.contains(&format!("WRONG {place}: ")), "{what}: {verdict}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_is_compared_although_the_newest_checkpoint_is_useless() {
    let (log, other) = (SignedLog::create().await, SignedLog::create().await);
    let projector = log.projector().await;
    log.grow(60).await;
    let file = log.file("log.ndjson");
    let [event_store, read_model, address] = &log.both();
    let key = log.public_key_file();
    let arguments = ["export", event_store, read_model, address, "--output", &file, "--public-key", &key];
    audited(0, &arguments);
    log.grow(40).await;
    projector.kill();
    let query_api = log.databases.query_api().await;
    let over_http = ["export", &query_api.url(), "--output", &file, "--public-key", &key];
    let exported = fs::read(&file).unwrap();
    let useless = useless_checkpoints(&log, &other);
    for (what, statement) in &useless {
        log.databases.change_read_model(statement).await;
        for arguments in [&arguments[..], &over_http] {
            let refused = audited(2, arguments);
            assert!(refused.contains("NOT COMPARED") && refused.contains("nothing was exported"), "{what}: {refused}");
        }
    }
    log.databases.tamper(&format!("{PRICE} where position = 42")).await;
    for (what, statement) in &useless {
        log.databases.change_read_model(statement).await;
        for arguments in [&arguments[..], &over_http] {
            let refused = audited(1, arguments);
            assert!(refused.contains("at position 42: the log has another event than the file"), "{what}: {refused}");
        }
    }
    assert!(fs::read(&file).unwrap() == exported, "the file was changed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_note_in_a_file_is_reported_with_its_line_and_the_others_are_compared() {
    let (log, other) = (SignedLog::create().await, SignedLog::create().await);
    let projector = log.projector().await;
    log.grow(60).await;
    log.grow(40).await;
    projector.kill();
    let (kept, key) = (log.file("kept.txt"), log.public_key_file());
    let [event_store, read_model, address] = &log.both();
    let arguments = ["verify", event_store, read_model, address, "--public-key", &key, "--checkpoints", &kept];
    let notes = log.notes();
    let foreign = other.key.sign(log.checkpoints()[0].position, log.checkpoints()[0].root);
    for bad in ["null\n", &foreign, &notes[0].replacen("\n60\n", "\n61\n", 1)] {
        fs::write(&kept, [&notes[0], "\n", bad, &*notes[1]].concat()).unwrap();
        let verdict = audited(2, &arguments);
        assert!(verdict.contains("kept.txt, line 8: "), "{verdict}");
        assert!(verdict.contains("agree, the newest for position 100"), "{verdict}");
    }
    // Line ends and blank lines are no fault, nor are the signatures of others, who cosign.
    let cosigned = format!("{}{}\n", notes[0], foreign.lines().last().unwrap());
    fs::write(&kept, [&cosigned, "\n\n", &*notes[1]].concat().replace('\n', "\r\n")).unwrap();
    let verdict = audited(0, &arguments);
    assert!(verdict.contains("3 agree, the newest for position 100"), "{verdict}");
    log.databases.tamper(&format!("{PRICE} where position = 42")).await;
    fs::write(&kept, [&*notes[1], "null"].concat()).unwrap();
    let verdict = audited(1, &arguments);
    assert!(verdict.contains("WRONG at position 42") && verdict.contains("kept.txt, line 7: "), "{verdict}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_ends_hides_no_fault_that_was_read_before() {
    let log = SignedLog::create().await;
    let projector = log.projector().await;
    log.grow(6000).await;
    let kept = fs::read(log.checkpoints_file()).unwrap();
    log.grow(6000).await;
    projector.kill();
    let (file, key) = (log.file("kept.txt"), log.public_key_file());
    fs::write(&file, kept).unwrap();
    // query-api ends an export at a gap.
    log.databases.tamper(&format!("{PRICE} where position = 42; delete from event where position = 11000")).await;
    let query_api = log.databases.query_api().await;
    let verdict = audited(1, &["verify", &query_api.url(), "--public-key", &key, "--checkpoints", &file]);
    assert!(verdict.contains("NOT COMPARED       the events after position"), "{verdict}");
    assert!(verdict.contains("WRONG at position 42: it is not the event"), "{verdict}");
}
