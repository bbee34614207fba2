//! Every documented status of the command API, and what happens to requests that are wrong.

use std::time::Duration;

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use testing::{Databases, NO_NATS, Service, assert_committed, assert_problem};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::sleep,
};
use uuid::Uuid;

use crate::support::buy;

async fn start() -> (Databases, Service) {
    let databases = Databases::create().await;
    let service = databases.command_api(NO_NATS).await;
    (databases, service)
}

/// Records a purchase of this schema version, with the id of a key, as another version of the service would.
async fn append(databases: &Databases, key: Uuid, version: i16, data: &str) {
    let append = format!(
        "with moved as (update head set position = position + 1, recorded_at = clock_timestamp() returning position, recorded_at)
         insert into event (position, recorded_at, event_id, schema_version, event_type, data)
         select position, recorded_at, '{key}', {version}, 'LicensePurchased', '{data}' from moved"
    );
    databases.change_event_store(&append).await;
}

#[tokio::test]
async fn each_licence_is_sold_at_its_price_with_a_receipt() {
    let (databases, service) = start().await;
    for (position, (license, amount_minor)) in (1..).zip([("basic", 4_900), ("pro", 19_900), ("enterprise", 99_900)]) {
        let key = Uuid::new_v4();
        let response = buy(&service, license, key).await.unwrap();
        assert_eq!(response.status(), 201);
        assert_eq!(response.headers()["location"], format!("/api/purchases/{key}"));
        let receipt: Value = response.json().await.unwrap();
        assert_eq!(receipt["purchase_id"], key.to_string());
        assert_eq!(receipt["position"], position);
        assert_eq!(receipt["license"], license);
        assert_eq!(receipt["price"], json!({ "amount_minor": amount_minor, "currency": "EUR" }));
        assert!(receipt["purchased_at"].as_str().unwrap().ends_with('Z'), "{receipt}");
    }
    assert_eq!(databases.head().await, 3);
}

/// The same request would never succeed, so the client needs another key.
#[tokio::test]
async fn a_key_whose_event_never_counts_is_used_up() {
    let (databases, service) = start().await;
    let key = Uuid::new_v4();
    append(&databases, key, 1, "{}").await;
    assert_problem(buy(&service, "pro", key).await.unwrap(), 422, "idempotency-key-reused").await;
    let reset = service.request(Method::DELETE, "/api/sales").header("idempotency-key", key.to_string());
    assert_problem(reset.send().await.unwrap(), 422, "idempotency-key-reused").await;
}

#[tokio::test]
async fn the_same_key_gets_the_same_receipt_even_after_a_price_change() {
    let (databases, service) = start().await;
    let key = Uuid::new_v4();
    // Bought at an earlier, lower price.
    append(&databases, key, 1, r#"{"license":"pro","price":{"amount_minor":100,"currency":"EUR"}}"#).await;
    let first: Value = buy(&service, "pro", key).await.unwrap().json().await.unwrap();
    assert_eq!(first["price"]["amount_minor"], 100);
    let again = buy(&service, "pro", key).await.unwrap();
    assert_eq!(again.status(), 201);
    assert_eq!(again.json::<Value>().await.unwrap(), first);
    assert_eq!(databases.head().await, 1);
}

#[tokio::test]
async fn a_key_belongs_to_one_command() {
    let (databases, service) = start().await;
    let (purchase, reset) = (Uuid::new_v4(), Uuid::new_v4());
    let delete_because = |key: Uuid, reason: &str| {
        let request = service.request(Method::DELETE, &format!("/api/sales?reason={reason}"));
        request.header("idempotency-key", key.to_string()).send()
    };
    let delete = |key| delete_because(key, "audit");
    assert_eq!(buy(&service, "pro", purchase).await.unwrap().status(), 201);
    assert_eq!(delete(reset).await.unwrap().status(), 200);
    assert_eq!(delete(reset).await.unwrap().status(), 200);
    assert_problem(delete_because(reset, "mistake").await.unwrap(), 422, "idempotency-key-reused").await;
    assert_problem(buy(&service, "basic", purchase).await.unwrap(), 422, "idempotency-key-reused").await;
    assert_problem(buy(&service, "basic", reset).await.unwrap(), 422, "idempotency-key-reused").await;
    assert_problem(delete(purchase).await.unwrap(), 422, "idempotency-key-reused").await;
    assert_eq!(databases.head().await, 2);
}

#[tokio::test]
async fn a_key_whose_event_a_newer_version_stored_fails_only_its_own_command() {
    let (databases, service) = start().await;
    let key = Uuid::new_v4();
    append(&databases, key, 2, "{}").await;
    let (taken, bought) = tokio::join!(buy(&service, "pro", key), buy(&service, "pro", Uuid::new_v4()));
    assert_problem(taken.unwrap(), 503, "unavailable").await;
    assert_eq!(bought.unwrap().status(), 201);
}

#[tokio::test]
async fn a_uuid_in_another_notation_does_not_buy_again() {
    let (databases, service) = start().await;
    let key = Uuid::new_v4();
    let first: Value = buy(&service, "pro", key).await.unwrap().json().await.unwrap();
    for notation in [key.simple().to_string(), key.braced().to_string(), key.urn().to_string()] {
        let request = service.request(Method::POST, "/api/buy_mpi").header("idempotency-key", &notation);
        let again = request.json(&json!({ "license": "pro" })).send().await.unwrap();
        assert_eq!(again.status(), 201);
        assert_eq!(again.json::<Value>().await.unwrap(), first, "{notation}");
    }
    assert_eq!(databases.head().await, 1);
}

#[tokio::test]
async fn an_encoded_body_is_refused_with_the_encoding_that_is_accepted() {
    let (databases, service) = start().await;
    let purchase = |coding: &str| {
        let request = service.request(Method::POST, "/api/buy_mpi").header("content-encoding", coding);
        request.json(&json!({ "license": "pro" })).send()
    };
    let refused = purchase("gzip").await.unwrap();
    assert_eq!(refused.headers()["accept-encoding"], "identity");
    assert_problem(refused, 415, "unsupported-content-encoding").await;
    assert_eq!(databases.head().await, 0);
    assert_eq!(purchase("identity").await.unwrap().status(), 201);
}

#[tokio::test]
async fn no_cache_may_store_a_receipt_and_any_wrong_method_is_answered_with_the_right_ones() {
    let (_databases, service) = start().await;
    let bought = buy(&service, "pro", Uuid::new_v4()).await.unwrap();
    assert_eq!(bought.headers()["cache-control"], "no-store");
    for (path, allowed) in
        [("/api/buy_mpi", "POST"), ("/api/sales", "DELETE"), ("/livez", "GET,HEAD"), ("/docs/events.json", "GET,HEAD")]
    {
        let refused = service.request(Method::PATCH, path).send().await.unwrap();
        assert_eq!(refused.headers()["allow"], allowed, "{path}");
        assert_problem(refused, 405, "method-not-allowed").await;
    }
}

#[tokio::test]
async fn a_reset_reports_position_and_time_and_a_repeated_one_changes_nothing() {
    let (databases, service) = start().await;
    buy(&service, "pro", Uuid::new_v4()).await.unwrap();
    let delete = || service.request(Method::DELETE, "/api/sales").header("idempotency-key", "end of quarter");
    let first: Value = delete().send().await.unwrap().json().await.unwrap();
    assert_eq!(first["position"], 2);
    assert!(first["reset_at"].is_string());
    buy(&service, "pro", Uuid::new_v4()).await.unwrap();
    assert_eq!(delete().send().await.unwrap().json::<Value>().await.unwrap(), first);
    assert_eq!(databases.head().await, 3);
    assert_eq!(databases.count_log().await["pro"].0, 1, "the repeated reset took a purchase out of the totals");
}

#[tokio::test]
async fn actor_role_and_reason_are_stored_with_the_event() {
    let (databases, service) = start().await;
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    service
        .request(Method::POST, "/api/buy_mpi")
        .header("idempotency-key", "order 17")
        .header("traceparent", trace)
        .json(&json!({ "license": "pro" }))
        .send()
        .await
        .unwrap();
    let metadata: String =
        sqlx::query_scalar("select metadata::text from event").fetch_one(databases.event_store()).await.unwrap();
    let mut metadata: Value = serde_json::from_str(&metadata).unwrap();
    assert!(metadata.as_object_mut().unwrap().remove("salt").is_some());
    assert_eq!(metadata, json!({ "traceparent": trace, "idempotency_key": "order 17" }));
}

#[tokio::test]
async fn an_invalid_request_gets_a_problem_and_stores_nothing() {
    let (databases, service) = start().await;
    let post = || service.request(Method::POST, "/api/buy_mpi");
    let json_body = |body: &str| post().header("content-type", "application/json").body(body.to_owned());
    let good = || json_body(r#"{"license":"pro"}"#);
    let long_key = "k".repeat(256);
    let huge = format!(r#"{{"license":"{}"}}"#, "x".repeat(20_000));
    let cases: Vec<(RequestBuilder, u16, &str)> = vec![
        (json_body(""), 400, "malformed-json"),
        (json_body("{"), 400, "malformed-json"),
        (json_body("{\"license\":\"pro\"}}"), 400, "malformed-json"),
        (post().header("content-type", "application/json").body(vec![0xff, 0xfe]), 400, "malformed-json"),
        (json_body("[]"), 422, "invalid-body"),
        (json_body(r#"["pro"]"#), 422, "invalid-body"),
        (json_body(r#"[{"license":"pro"}]"#), 422, "invalid-body"),
        (json_body(r#""pro""#), 422, "invalid-body"),
        (json_body(r#"{"license":["pro"]}"#), 422, "invalid-body"),
        (json_body(r#"{"license":{"pro":null}}"#), 422, "invalid-body"),
        (json_body("null"), 422, "invalid-body"),
        (json_body("{}"), 422, "invalid-body"),
        (json_body(r#"{"license":"free"}"#), 422, "invalid-body"),
        (json_body(r#"{"license":"PRO"}"#), 422, "invalid-body"),
        (json_body(r#"{"license":7}"#), 422, "invalid-body"),
        (json_body(r#"{"license":null}"#), 422, "invalid-body"),
        (json_body(r#"{"license":"pro","license":"pro"}"#), 422, "invalid-body"),
        (json_body(r#"{"license":"pro","price":1}"#), 422, "invalid-body"),
        (json_body(&huge), 413, "body-too-large"),
        (post().body(r#"{"license":"pro"}"#), 415, "unsupported-media-type"),
        (post().header("content-type", "text/plain").body(r#"{"license":"pro"}"#), 415, "unsupported-media-type"),
        (good().header("content-type", "application/json"), 415, "unsupported-media-type"),
        (good().header("content-encoding", "gzip"), 415, "unsupported-content-encoding"),
        (good().header("content-encoding", "identity, br"), 415, "unsupported-content-encoding"),
        (good().header("idempotency-key", "two1, two2"), 400, "invalid-idempotency-key"),
        (good().header("idempotency-key", "\"two1\", \"two2\""), 400, "invalid-idempotency-key"),
        (good().header("idempotency-key", ""), 400, "invalid-idempotency-key"),
        (good().header("idempotency-key", long_key), 400, "invalid-idempotency-key"),
        (good().header("idempotency-key", "caf\u{e9}"), 400, "invalid-idempotency-key"),
        (good().header("idempotency-key", "a").header("idempotency-key", "b"), 400, "invalid-idempotency-key"),
        (service.request(Method::GET, "/api/buy_mpi"), 405, "method-not-allowed"),
        (service.request(Method::PUT, "/api/buy_mpi"), 405, "method-not-allowed"),
        (service.request(Method::OPTIONS, "/api/buy_mpi"), 405, "method-not-allowed"),
        (service.request(Method::POST, "/api/sales"), 405, "method-not-allowed"),
        (service.request(Method::POST, "/api/buy_mpi/"), 404, "not-found"),
        (service.request(Method::GET, "/api/%ff%fe"), 404, "not-found"),
        (service.request(Method::GET, "/..%2f..%2fetc/passwd"), 404, "not-found"),
    ];
    for (request, status, kind) in cases {
        let refused = request.send().await.unwrap();
        // RFC 7694, section 3: it explains a 415 as one because of the coding.
        assert_eq!(refused.headers().contains_key("accept-encoding"), kind == "unsupported-content-encoding", "{kind}");
        assert_problem(refused, status, kind).await;
    }
    assert_eq!(databases.head().await, 0);
}

/// A proxy sends the head first and the body after it. A response in between would close the connection under the body.
#[tokio::test]
async fn a_rejected_client_may_finish_its_body_and_reuse_the_connection() {
    let (_databases, service) = start().await;
    let mut peer = TcpStream::connect(service.address()).await.unwrap();
    let requests = [
        ("POST /api/buy_mpi", "text/plain", 20, "415"),
        ("POST /api/nothing", "application/json", 20, "404"),
        ("PUT /api/buy_mpi", "application/json", 20, "405"),
        ("POST /api/buy_mpi", "application/json", 500_000, "413"),
    ];
    for (request, content_type, length, status) in requests {
        let head = format!(
            "{request} HTTP/1.1\r\nhost: sales\r\ncontent-type: {content_type}\r\ncontent-length: {length}\r\n\r\n"
        );
        peer.write_all(head.as_bytes()).await.unwrap();
        sleep(Duration::from_millis(50)).await;
        peer.write_all(&vec![b'x'; length]).await.unwrap();
        let mut answer = vec![0; 4096];
        let read = peer.read(&mut answer).await.unwrap();
        let answer = String::from_utf8_lossy(&answer[..read]).into_owned();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request}: {answer}");
        assert!(answer.contains("application/problem+json"), "{request}: {answer}");
    }
}

#[tokio::test]
async fn operators_get_health_metrics_and_the_api_description() {
    let (_databases, service) = start().await;
    buy(&service, "pro", Uuid::new_v4()).await.unwrap();
    assert_eq!(service.text("/livez").await, "alive\n");
    assert_eq!(service.text("/readyz").await, "ready\n");
    let metrics = service.text("/metrics").await;
    for line in [
        "sales_commands_committed_total 1",
        "sales_append_queue_depth 0",
        "sales_append_batch_size_count 1",
        "sales_append_duration_seconds_count 1",
        "sales_relay_lag_positions",
        "sales_relay_lag_seconds",
        r#"sales_http_request_duration_seconds_count{method="POST",route="/api/buy_mpi",status="201"} 1"#,
    ] {
        assert!(metrics.contains(line), "{line} is missing in\n{metrics}");
    }
    let openapi = service.json("/docs/command-api.json").await;
    let documented = openapi["paths"]["/api/buy_mpi"]["post"]["responses"].as_object().unwrap();
    assert_eq!(documented.keys().collect::<Vec<_>>(), ["201", "400", "401", "403", "408", "413", "415", "422", "503"]);
}

#[tokio::test]
async fn the_pages_are_compiled_against_the_served_description() {
    let (_databases, service) = start().await;
    assert_committed("command-api", &service.json("/docs/command-api.json").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_outside_of_the_log_gets_no_receipt_and_does_not_affect_others() {
    let databases = Databases::create().await;
    let service = databases.command_api(NO_NATS).await;
    let [before, at_zero, beyond, honest] = [(); 4].map(|()| Uuid::new_v4());
    assert_eq!(buy(&service, "pro", honest).await.unwrap().status(), 201);
    databases.tamper("alter table event drop constraint event_position_starts_at_one").await;
    for (position, id) in [(-5, before), (0, at_zero), (900, beyond)] {
        let insert = format!(
            "insert into event select {position}, recorded_at, '{id}', schema_version, event_type, data from event where position = 1"
        );
        databases.tamper(&insert).await;
    }
    for id in [before, at_zero, beyond] {
        assert_problem(buy(&service, "pro", id).await.unwrap(), 503, "unavailable").await;
    }
    assert_eq!(buy(&service, "pro", honest).await.unwrap().status(), 201);
}
