//! Auditing without access to any database.

use std::fs;

use auditor::source::Source;
use contract::position::Position;
use serde_json::{Value, json};
use testing::{purchased, values};

use crate::support::{SignedLog, audited};

#[tokio::test(flavor = "multi_thread")]
async fn an_export_through_the_shop_verifies_and_equals_one_from_the_database() {
    let log = SignedLog::create().await;
    let _projector = log.projector().await;
    log.grow(7000).await;
    let query_api = log.databases.query_api().await;
    let (http, database, key) = (log.file("http.ndjson"), log.file("database.ndjson"), log.public_key_file());
    let [event_store, read_model, address] = &log.both();
    audited(0, &["export", &query_api.url(), "--output", &http]);
    audited(0, &["export", event_store, read_model, address, "--output", &database]);
    assert!(fs::read(&http).unwrap() == fs::read(&database).unwrap(), "the exports differ");
    // Continued once the log has grown.
    log.grow(10).await;
    audited(0, &["export", &query_api.url(), "--output", &http]);
    let verified = audited(0, &["verify", &http, "--public-key", &key]);
    assert!(verified.contains("7010 events") && verified.contains("2 agree"), "{verified}");
    let verified = audited(0, &["verify", &query_api.url(), "--public-key", &key]);
    assert!(verified.contains("7010 events") && verified.contains("1 agree"), "{verified}");
    // Progress is shown without a key as well.
    let source = Source::parse(&query_api.url(), None).unwrap();
    assert_eq!(source.supposed_end().await.map(Position::get), Some(7010));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_checkpoint_must_be_consistent_with_the_auditors_own() {
    let log = SignedLog::create().await;
    let projector = log.projector().await;
    log.grow(300).await;
    let query_api = log.databases.query_api().await;
    let (kept, key) = (log.file("kept.txt"), log.public_key_file());
    let url = query_api.url();
    let arguments = ["checkpoint", &url, "--public-key", &key, "--file", &kept];
    for _ in 0..3 {
        audited(0, &arguments);
        log.grow(57).await;
    }
    assert_eq!(fs::read_to_string(&kept).unwrap().matches("sales.example/test\n").count(), 3);
    // The log is changed, and signed with the same key by a projector that has lost the published checkpoints.
    projector.kill();
    let earlier = "update event set recorded_at = recorded_at - interval '1 second' where position = 1";
    log.databases.tamper(earlier).await;
    let forget = "truncate tree_tile; update tree_head set position = 0, checkpoint = null, signed = null";
    log.databases.change_read_model(forget).await;
    fs::remove_file(log.checkpoints_file()).unwrap();
    log.decide_to_sign().await;
    let _forger = log.projector().await;
    log.signed(log.databases.head().await).await;
    let refused = audited(1, &arguments);
    assert!(refused.contains("is not the beginning of what is signed now"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proof_hides_the_metadata_that_verify_and_a_page_open() {
    let log = SignedLog::create().await;
    // The first one is an older event, without a salt.
    let (shown, hidden) = (r#"{"actor":"carl"}"#, r#"{"salt":"8f14e45fceea467fa7d1b8c9e3a20b64","actor":"carl"}"#);
    let databases = &log.databases;
    databases.append_unchecked(&[purchased("pro", 19_900), purchased("pro", 19_900)]).await;
    for (position, metadata) in [(1, shown), (2, hidden)] {
        databases.tamper(&format!("update event set metadata = '{metadata}' where position = {position}")).await;
    }
    let _projector = log.projector().await;
    log.grow(10).await;
    let query_api = databases.query_api().await;
    let (file, key) = (log.file("proof.json"), log.public_key_file());
    let line = async |position: i64| {
        let proof = query_api.json(&format!("/api/events/{position}/proof")).await;
        fs::write(&file, proof.to_string()).unwrap();
        audited(0, &["proof", &file, "--public-key", &key]);
        proof["event"].as_str().unwrap().to_owned()
    };
    assert!(line(1).await.contains(r#""actor":"carl""#));
    let hash = "select encode(sha256(convert_to(metadata::text, 'utf8')), 'base64') from event where position = 2";
    let hash = values::<String>(databases.event_store(), hash).await.remove(0);
    let proved = line(2).await;
    assert!(proved.contains(&format!(r#""metadatahash":"{hash}""#)) && !proved.contains("carl"), "{proved}");

    let page = query_api.json("/api/events?limit=3").await;
    assert_eq!(page["metadata"], json!([null, hidden, null]));
    let read = |index: usize| page["events"][index].get("metadatahash");
    assert_eq!([read(0), read(1), read(2)], [None, Some(&json!(hash)), None]);
    audited(0, &["export", &query_api.url(), "--output", &log.file("log.ndjson")]);
    let exported = fs::read_to_string(log.file("log.ndjson")).unwrap();
    assert_eq!(exported.lines().nth(1), Some(&*proved));

    let [event_store, read_model, address] = &log.both();
    let verify = ["verify", event_store, read_model, address, "--public-key", &key];
    audited(0, &verify);
    let other = hidden.replace("carl", "carla");
    databases.tamper(&format!("update event set metadata = '{other}' where position = 2")).await;
    let verified = audited(1, &verify);
    assert!(verified.contains("WRONG at position 2"), "{verified}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_proof_is_served_that_does_not_verify_against_the_signed_checkpoint() {
    let log = SignedLog::create().await;
    log.fill(300).await;
    let query_api = log.databases.query_api().await;
    let assert_answers = async |answers: &[(&str, u16)]| {
        for (path, status) in answers {
            assert_eq!(query_api.get(path).await.status(), *status, "{path}");
        }
    };
    // The event store alone is restored, and the shop sells again.
    log.databases.tamper("delete from event where position > 100; update head set position = 100").await;
    log.databases.append(&vec![purchased("pro", 19_900); 50]).await;
    assert_answers(&[
        ("/api/events/101/proof", 500),
        ("/api/events/150/proof?checkpoint=150", 500),
        ("/api/events/100/proof?checkpoint=100", 200),
        ("/api/events/consistency?from=7", 200),
        ("/api/events/consistency?from=7&to=200", 200),
    ])
    .await;
    let (file, key) = (log.file("proof.json"), log.public_key_file());
    fs::write(&file, query_api.text("/api/events/100/proof").await).unwrap();
    audited(0, &["proof", &file, "--public-key", &key]);

    let forged = "update tree_tile set hashes = overlay(hashes placing decode(repeat('00', 32), 'hex') from 1)
                  where level = 0 and index = 0";
    log.databases.change_read_model(forged).await;
    assert_answers(&[
        ("/api/events/100/proof", 500),
        ("/api/events/100/proof?checkpoint=100", 500),
        ("/api/events/consistency?from=7", 500),
        ("/api/events/consistency?from=7&to=200", 500),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_proof_of_a_purchase_verifies_offline() {
    let log = SignedLog::create().await;
    let _projector = log.projector().await;
    log.grow(400).await;
    let query_api = log.databases.query_api().await;
    let proof = query_api.json("/api/events/123/proof").await;
    let id =
        serde_json::from_str::<Value>(proof["event"].as_str().unwrap()).unwrap()["id"].as_str().unwrap().to_owned();
    let by_id = query_api.json(&format!("/api/events/{id}/proof")).await;
    assert_eq!(by_id, proof);
    assert_eq!((&proof["position"], &proof["tree_size"]), (&Value::from(123), &Value::from(400)));

    let (file, key) = (log.file("proof.json"), log.public_key_file());
    fs::write(&file, proof.to_string()).unwrap();
    let proved = audited(0, &["proof", &file, "--public-key", &key]);
    assert!(proved.contains("signed up to position 400"), "{proved}");
    for (from, to) in [("19900", "19901"), ("\\\"position\\\":123", "\\\"position\\\":124"), ("\\n400\\n", "\\n401\\n")]
    {
        let changed = proof.to_string().replace(from, to);
        assert_ne!(changed, proof.to_string(), "{from}");
        fs::write(&file, changed).unwrap();
        audited(1, &["proof", &file, "--public-key", &key]);
    }

    let note = query_api.get("/api/events/checkpoint").await;
    assert_eq!(note.headers()["content-type"], "text/plain; charset=utf-8");
    assert_eq!(note.text().await.unwrap(), proof["checkpoint"].as_str().unwrap());
    for (path, status) in [
        ("/api/events/401/proof", 404),
        ("/api/events/0/proof", 404),
        ("/api/events/purchase/proof", 404),
        ("/api/events/123/proof?checkpoint=122", 400),
        ("/api/events/123/proof?checkpoint=401", 400),
        ("/api/events/123/proof?checkpoint=x", 400),
        ("/api/events/123/proof?checkpoint=123", 200),
        ("/api/events/consistency", 400),
        ("/api/events/consistency?from=0", 400),
        ("/api/events/consistency?from=-1", 400),
        ("/api/events/consistency?from=401", 400),
        ("/api/events/consistency?from=7&to=6", 400),
        ("/api/events/consistency?from=7&to=9223372036854775807", 400),
        ("/api/events/consistency?from=400&to=400", 200),
    ] {
        let response = query_api.get(path).await;
        assert_eq!(response.status(), status, "{path}");
        let content_type = response.headers()["content-type"].to_str().unwrap();
        assert_eq!(content_type == "application/problem+json", status != 200, "{path}: {content_type}");
    }
}
