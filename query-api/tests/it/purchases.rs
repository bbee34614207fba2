//! Receipts, licence keys, and the public keys to verify them with.

use std::{fs, os::unix::fs::PermissionsExt};

use jsonwebtoken::{Algorithm, DecodingKey, Validation, jwk::JwkSet};
use serde_json::{Value, json};
use testing::{Command, Ended, Service, Until, assert_problem, purchased, reset, values};
use uuid::Uuid;

use crate::ReadSide;

async fn make_key(file: &str) -> Ended {
    Command::start("query-api", &["key", "--file", file], &[]).ended().await
}

/// Another replica, with a signing key.
async fn with_key(read_side: &ReadSide, file: &str) -> Service {
    read_side.databases.start("query-api", Until::Ready, &[("LICENSE_KEY_FILE", file)]).await
}

/// A log of a purchase and a reset. Returns the ids of both.
async fn a_purchase_and_a_reset(read_side: &ReadSide) -> [String; 2] {
    read_side.databases.append_at("2026-11-24 20:00:00.5+00", &[purchased("pro", 19_900), reset()]).await;
    let ids = values(read_side.databases.event_store(), "select event_id::text from event order by position").await;
    ids.try_into().unwrap()
}

#[tokio::test]
async fn a_receipt_is_found_by_its_purchase_id() {
    let read_side = ReadSide::start().await;
    let [purchase, reset] = a_purchase_and_a_reset(&read_side).await;
    let receipt = read_side.json(&format!("/api/purchases/{purchase}")).await;
    assert_eq!(receipt["purchase_id"], purchase);
    assert_eq!(receipt["position"], 1);
    assert_eq!(receipt["license"], "pro");
    assert_eq!(receipt["price"], json!({ "amount_minor": 19_900, "currency": "EUR" }));
    let response = read_side.get(&format!("/api/purchases/{purchase}")).await;
    assert_eq!(response.headers()["cache-control"], "no-store");
    for unknown in [&reset, "00000000-0000-0000-0000-000000000000", "7", "%ff"] {
        assert_problem(read_side.get(&format!("/api/purchases/{unknown}")).await, 404, "unknown-purchase").await;
    }
}

#[tokio::test]
async fn every_replica_issues_the_same_licence_key_at_any_time() {
    let read_side = ReadSide::start().await;
    let [purchase, not_a_purchase] = a_purchase_and_a_reset(&read_side).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys/license.pem").to_str().unwrap().to_owned();
    let made = make_key(&file).await;
    assert!(made.success, "{}", made.log);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let (first, second) = (with_key(&read_side, &file).await, with_key(&read_side, &file).await);
    let path = format!("/api/purchases/{purchase}/license_key");
    let key = first.json(&path).await;
    assert_eq!(first.get(&path).await.headers()["sales-position"], "1");
    assert_eq!(first.json(&path).await, key);
    assert_eq!(second.json(&path).await, key);

    let published = first.json("/api/jwks.json").await;
    assert!(made.log.contains(published["keys"][0]["x"].as_str().unwrap()), "{}", made.log);
    let keys: JwkSet = serde_json::from_value(published).unwrap();
    let token = key["license_key"].as_str().unwrap();
    let name = jsonwebtoken::decode_header(token).unwrap().kid.unwrap();
    let mut validation = Validation::new(Algorithm::EdDSA);
    validation.required_spec_claims.clear();
    let verifies_with = DecodingKey::from_jwk(keys.find(&name).unwrap()).unwrap();
    let verified = jsonwebtoken::decode::<Value>(token, &verifies_with, &validation).unwrap();
    assert_eq!(verified.claims, json!({ "iss": "urn:sales", "sub": purchase, "license": "pro", "iat": 1_795_550_400 }));

    for unknown in [not_a_purchase.as_str(), "00000000-0000-0000-0000-000000000000", "7", "%ff"] {
        let response = first.get(&format!("/api/purchases/{unknown}/license_key")).await;
        assert_problem(response, 404, "unknown-purchase").await;
    }
    let secret = fs::read_to_string(&file).unwrap();
    let secret = secret.lines().nth(1).unwrap();
    for service in [&first, &second] {
        assert!(!service.log().contains(secret), "the key is in the log");
    }
}

#[tokio::test]
async fn after_a_key_rotation_earlier_purchases_keep_their_licence_key() {
    let read_side = ReadSide::start().await;
    let [before, _] = a_purchase_and_a_reset(&read_side).await;
    let folder = tempfile::tempdir().unwrap();
    let [old, new] = ["old.pem", "new.pem"].map(|name| folder.path().join(name).to_str().unwrap().to_owned());
    assert!(make_key(&old).await.success && make_key(&new).await.success);
    let licence_key = |purchase: &str| format!("/api/purchases/{purchase}/license_key");
    let service = with_key(&read_side, &old).await;
    let (key, published) = (service.json(&licence_key(&before)).await, service.json("/api/jwks.json").await);

    let both = format!(
        "{}until 2026-11-24T21:00:00Z\n{}",
        fs::read_to_string(&new).unwrap(),
        fs::read_to_string(&old).unwrap()
    );
    fs::write(&new, both).unwrap();
    let service = with_key(&read_side, &new).await;
    assert_eq!(service.json(&licence_key(&before)).await, key);
    let both: JwkSet = serde_json::from_value(service.json("/api/jwks.json").await).unwrap();
    let published: JwkSet = serde_json::from_value(published).unwrap();
    assert_eq!(both.keys.len(), 2);
    assert_eq!(both.keys[1], published.keys[0]);

    read_side.databases.append_at("2026-11-24 21:00:00+00", &[purchased("pro", 19_900)]).await;
    let select = "select event_id::text from event where position = 3";
    let after: Vec<String> = values(read_side.databases.event_store(), select).await;
    let key = service.json(&licence_key(&after[0])).await;
    let name = jsonwebtoken::decode_header(key["license_key"].as_str().unwrap()).unwrap().kid;
    assert_eq!(name, both.keys[0].common.key_id);
}

/// A superuser can insert rows that no projection counts and no checkpoint covers.
#[tokio::test]
async fn a_row_outside_of_the_log_gets_no_receipt_no_licence_key_and_no_proof() {
    let read_side = ReadSide::start().await;
    a_purchase_and_a_reset(&read_side).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("license.pem").to_str().unwrap().to_owned();
    assert!(make_key(&file).await.success);
    let service = with_key(&read_side, &file).await;
    let outside = [i64::MIN, -5, 0, 3, 5_000, i64::MAX];
    let rows = outside.map(|position| {
        let (kind, data) = purchased("enterprise", 99_900);
        format!("({position}, now(), '{}', 1, '{kind}', '{data}')", id_of(position))
    });
    let columns = "position, recorded_at, event_id, schema_version, event_type, data";
    let drop = "alter table event drop constraint event_position_starts_at_one";
    let insert = format!("{drop}; insert into event ({columns}) values {}", rows.join(", "));
    read_side.databases.tamper(&insert).await;
    for position in outside {
        let id = id_of(position);
        for path in [format!("/api/purchases/{id}"), format!("/api/purchases/{id}/license_key")] {
            assert_problem(service.get(&path).await, 404, "unknown-purchase").await;
        }
        for path in [format!("/api/events/{id}/proof"), format!("/api/events/{id}")] {
            assert_problem(service.get(&path).await, 404, "unknown-event").await;
        }
        for path in [format!("/api/events/{position}/proof"), format!("/api/events/{position}")] {
            assert_problem(service.get(&path).await, 404, "unknown-event").await;
        }
    }
    // The next purchase takes position 3 only if the row there is gone; then it is an event like any other.
    read_side.databases.tamper("delete from event where position = 3").await;
    read_side.databases.append(&[purchased("pro", 19_900)]).await;
    let select = "select event_id::text from event where position = 3";
    let genuine: Vec<String> = values(read_side.databases.event_store(), select).await;
    assert_eq!(service.json(&format!("/api/purchases/{}", genuine[0])).await["position"], 3);
    service.json(&format!("/api/purchases/{}/license_key", genuine[0])).await;
}

/// The id of the row that a test inserts at a position.
fn id_of(position: i64) -> Uuid {
    Uuid::from_u128(u128::from(position.cast_unsigned()) << 64 | 1)
}

#[tokio::test]
async fn without_a_signing_key_no_licence_keys_are_issued() {
    let read_side = ReadSide::start().await;
    let [purchase, _] = a_purchase_and_a_reset(&read_side).await;
    assert_eq!(read_side.json("/api/jwks.json").await, json!({ "keys": [] }));
    let response = read_side.get(&format!("/api/purchases/{purchase}/license_key")).await;
    assert_problem(response, 503, "unavailable").await;
    assert!(read_side.query_api.log().contains("license_key.missing"));
}

#[tokio::test]
async fn a_key_file_is_never_overwritten_and_an_invalid_one_prevents_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("license.pem");
    let (name, read) = (file.to_str().unwrap(), || fs::read_to_string(&file).unwrap());
    assert!(make_key(name).await.success);
    let before = read();
    let again = make_key(name).await;
    assert!(!again.success && again.log.contains("cannot create"), "{}", again.log);
    assert_eq!(read(), before);

    fs::write(&file, "secret word").unwrap();
    let environment = [
        ("EVENT_STORE_URL", "postgres://localhost/event_store"),
        ("READ_MODEL_URL", "postgres://localhost/read_model"),
        ("LICENSE_KEY_FILE", name),
    ];
    let refused = Command::start("query-api", &["serve"], &environment).ended().await;
    assert!(!refused.success && refused.log.contains("LICENSE_KEY"), "{}", refused.log);
    assert!(!refused.log.contains("secret word"), "{}", refused.log);
}
