//! Every documented status of the command API, and what happens to requests that are wrong.

use std::time::Duration;

use reqwest::{Client, Method, RequestBuilder, Response};
use serde_json::{Value, json};
use testing::{Databases, Service, assert_committed};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::sleep,
};
use uuid::Uuid;

use crate::support::{NO_NATS, buy, command_api};

async fn start() -> (Databases, Service, Client) {
    let databases = Databases::create().await;
    let service = command_api(&databases, NO_NATS).await;
    (databases, service, Client::new())
}

async fn assert_problem(response: Response, status: u16, kind: &str) {
    assert_eq!(response.status(), status, "for {kind}");
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    let problem: Value = response.json().await.unwrap();
    assert_eq!(problem["type"], format!("urn:sales:problem:{kind}"), "{problem}");
    assert_eq!(problem["status"], status);
    assert!(problem["title"].is_string() && problem["detail"].is_string(), "{problem}");
}

#[tokio::test]
async fn each_licence_is_sold_at_its_price_with_a_receipt() {
    let (databases, service, client) = start().await;
    for (position, (license, amount_minor)) in (1..).zip([("basic", 4_900), ("pro", 19_900), ("enterprise", 99_900)]) {
        let key = Uuid::new_v4();
        let response = buy(&client, &service.url(), license, key).await.unwrap();
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

#[tokio::test]
async fn the_same_key_gets_the_same_receipt_even_after_a_price_change() {
    let (databases, service, client) = start().await;
    let key = Uuid::new_v4();
    // Bought at an earlier, lower price.
    sqlx::query(
        "select append_events(array[$1], array['LicensePurchased'], array[1::smallint], array[$2], array[null])",
    )
    .bind(key)
    .bind(r#"{"license":"pro","price":{"amount_minor":100,"currency":"EUR"}}"#)
    .execute(databases.event_store())
    .await
    .unwrap();
    let first: Value = buy(&client, &service.url(), "pro", key).await.unwrap().json().await.unwrap();
    assert_eq!(first["price"]["amount_minor"], 100);
    let again = buy(&client, &service.url(), "pro", key).await.unwrap();
    assert_eq!(again.status(), 201);
    assert_eq!(again.json::<Value>().await.unwrap(), first);
    assert_eq!(databases.head().await, 1);
}

#[tokio::test]
async fn a_key_belongs_to_one_command() {
    let (databases, service, client) = start().await;
    let (purchase, reset) = (Uuid::new_v4(), Uuid::new_v4());
    let delete_because = |key: Uuid, reason: &str| {
        let url = format!("{}/api/sales?reason={reason}", service.url());
        client.delete(url).header("idempotency-key", key.to_string()).send()
    };
    let delete = |key| delete_because(key, "audit");
    assert_eq!(buy(&client, &service.url(), "pro", purchase).await.unwrap().status(), 201);
    assert_eq!(delete(reset).await.unwrap().status(), 200);
    assert_eq!(delete(reset).await.unwrap().status(), 200);
    assert_problem(delete_because(reset, "mistake").await.unwrap(), 422, "idempotency-key-reused").await;
    assert_problem(buy(&client, &service.url(), "basic", purchase).await.unwrap(), 422, "idempotency-key-reused").await;
    assert_problem(buy(&client, &service.url(), "basic", reset).await.unwrap(), 422, "idempotency-key-reused").await;
    assert_problem(delete(purchase).await.unwrap(), 422, "idempotency-key-reused").await;
    assert_eq!(databases.head().await, 2);
}

#[tokio::test]
async fn a_key_whose_event_a_newer_version_stored_fails_only_its_own_command() {
    let (databases, service, client) = start().await;
    let key = Uuid::new_v4();
    sqlx::query(
        "select append_events(array[$1], array['LicensePurchased'], array[2::smallint], array['{}'], array[null])",
    )
    .bind(key)
    .execute(databases.event_store())
    .await
    .unwrap();
    let (url, other) = (service.url(), Uuid::new_v4());
    let (taken, bought) = tokio::join!(buy(&client, &url, "pro", key), buy(&client, &url, "pro", other));
    assert_problem(taken.unwrap(), 503, "unavailable").await;
    assert_eq!(bought.unwrap().status(), 201);
}

#[tokio::test]
async fn a_reset_reports_position_and_time_and_a_repeated_one_changes_nothing() {
    let (databases, service, client) = start().await;
    buy(&client, &service.url(), "pro", Uuid::new_v4()).await.unwrap();
    let delete = || client.delete(format!("{}/api/sales", service.url())).header("idempotency-key", "end of quarter");
    let first: Value = delete().send().await.unwrap().json().await.unwrap();
    assert_eq!(first["position"], 2);
    assert!(first["reset_at"].is_string());
    buy(&client, &service.url(), "pro", Uuid::new_v4()).await.unwrap();
    assert_eq!(delete().send().await.unwrap().json::<Value>().await.unwrap(), first);
    assert_eq!(databases.head().await, 3);
    assert_eq!(databases.count_log().await["pro"].0, 1, "the repeated reset took a purchase out of the totals");
}

#[tokio::test]
async fn actor_role_and_reason_are_stored_with_the_event() {
    let (databases, service, client) = start().await;
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    client
        .post(format!("{}/api/buy_mpi", service.url()))
        .header("idempotency-key", "order 17")
        .header("traceparent", trace)
        .json(&json!({ "license": "pro" }))
        .send()
        .await
        .unwrap();
    let metadata: String =
        sqlx::query_scalar("select metadata::text from event").fetch_one(databases.event_store()).await.unwrap();
    let metadata: Value = serde_json::from_str(&metadata).unwrap();
    assert_eq!(metadata, json!({ "traceparent": trace, "idempotency_key": "order 17" }));
}

#[tokio::test]
async fn an_invalid_request_gets_a_problem_and_stores_nothing() {
    let (databases, service, client) = start().await;
    let url = format!("{}/api/buy_mpi", service.url());
    let json_body = |body: &str| client.post(&url).header("content-type", "application/json").body(body.to_owned());
    let good = || json_body(r#"{"license":"pro"}"#);
    let long_key = "k".repeat(256);
    let huge = format!(r#"{{"license":"{}"}}"#, "x".repeat(20_000));
    let cases: Vec<(RequestBuilder, u16, &str)> = vec![
        (json_body(""), 400, "malformed-json"),
        (json_body("{"), 400, "malformed-json"),
        (json_body("{\"license\":\"pro\"}}"), 400, "malformed-json"),
        (client.post(&url).header("content-type", "application/json").body(vec![0xff, 0xfe]), 400, "malformed-json"),
        (json_body("[]"), 422, "invalid-body"),
        (json_body("null"), 422, "invalid-body"),
        (json_body("{}"), 422, "invalid-body"),
        (json_body(r#"{"license":"free"}"#), 422, "invalid-body"),
        (json_body(r#"{"license":"PRO"}"#), 422, "invalid-body"),
        (json_body(r#"{"license":7}"#), 422, "invalid-body"),
        (json_body(r#"{"license":null}"#), 422, "invalid-body"),
        (json_body(r#"{"license":"pro","license":"pro"}"#), 422, "invalid-body"),
        (json_body(r#"{"license":"pro","price":1}"#), 422, "invalid-body"),
        (json_body(&huge), 413, "body-too-large"),
        (client.post(&url).body(r#"{"license":"pro"}"#), 415, "unsupported-media-type"),
        (
            client.post(&url).header("content-type", "text/plain").body(r#"{"license":"pro"}"#),
            415,
            "unsupported-media-type",
        ),
        (good().header("idempotency-key", ""), 400, "invalid-idempotency-key"),
        (good().header("idempotency-key", long_key), 400, "invalid-idempotency-key"),
        (good().header("idempotency-key", "caf\u{e9}"), 400, "invalid-idempotency-key"),
        (good().header("idempotency-key", "a").header("idempotency-key", "b"), 400, "invalid-idempotency-key"),
        (client.get(&url), 405, "method-not-allowed"),
        (client.put(&url), 405, "method-not-allowed"),
        (client.request(Method::OPTIONS, &url), 405, "method-not-allowed"),
        (client.post(format!("{}/api/sales", service.url())), 405, "method-not-allowed"),
        (client.post(format!("{url}/")), 404, "not-found"),
        (client.get(format!("{}/api/%ff%fe", service.url())), 404, "not-found"),
        (client.get(format!("{}/..%2f..%2fetc/passwd", service.url())), 404, "not-found"),
    ];
    for (request, status, kind) in cases {
        assert_problem(request.send().await.unwrap(), status, kind).await;
    }
    assert_eq!(databases.head().await, 0);
}

/// A proxy sends the head first and the body after it. A response in between would close the connection under the body.
#[tokio::test]
async fn a_rejected_client_may_finish_its_body_and_reuse_the_connection() {
    let (_databases, service, _client) = start().await;
    let mut peer = TcpStream::connect(service.url().strip_prefix("http://").unwrap()).await.unwrap();
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
    let (_databases, service, client) = start().await;
    buy(&client, &service.url(), "pro", Uuid::new_v4()).await.unwrap();
    let text = async |path: &str| {
        let response = client.get(format!("{}{path}", service.url())).send().await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
        response.text().await.unwrap()
    };
    assert_eq!(text("/livez").await, "alive\n");
    assert_eq!(text("/readyz").await, "ready\n");
    let metrics = text("/metrics").await;
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
    let openapi: Value = serde_json::from_str(&text("/docs/command-api.json").await).unwrap();
    let documented = openapi["paths"]["/api/buy_mpi"]["post"]["responses"].as_object().unwrap();
    assert_eq!(documented.keys().collect::<Vec<_>>(), ["201", "400", "401", "403", "408", "413", "415", "422", "503"]);
}

#[tokio::test]
async fn the_pages_are_compiled_against_the_served_description() {
    let (_databases, service, _client) = start().await;
    assert_committed("command-api", &service.get("/docs/command-api.json").await.json().await.unwrap());
}
