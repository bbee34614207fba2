//! The service as a whole: settings, health, metrics, the OpenAPI document, invalid requests, and operation without the event store.

use std::time::Instant;

use reqwest::Method;
use testing::{Databases, Proxy, Service, Until, assert_committed, assert_problem, eventually, purchased};

use crate::ReadSide;

#[tokio::test]
async fn invalid_query_parameters_are_answered_400() {
    let read_side = ReadSide::start().await;
    for path in [
        "/api/get_current_money?min_position=-1",
        "/api/get_current_money?min_position=one",
        "/api/get_current_money?min_position=",
        "/api/get_current_money?min_position=1.0",
        "/api/get_current_money?min_position=9223372036854775808",
        "/api/get_current_money?min_position=1&min_position=2",
        "/api/get_current_money?since=yesterday",
        "/api/get_current_money?at=yesterday",
        "/api/get_current_money?at_position=-1",
        "/api/get_current_money?at_position=1&at=2026-11-01T12:00:00Z",
        "/api/get_current_money?at_position=0&min_position=0",
        "/api/get_current_money?at=2026-11-01T12:00:00Z&min_position=0",
        "/api/events?after=-1",
        "/api/events?after=%00",
        "/api/events?limit=0",
        "/api/events?limit=1001",
        "/api/events?limit=-1",
        "/api/events?limit=99999999999999999999999",
        "/api/events?order=desc",
    ] {
        assert_problem(read_side.get(path).await, 400, "invalid-query").await;
    }
    assert_problem(read_side.get("/api").await, 404, "not-found").await;
    assert_problem(read_side.get("/api/get_current_money/").await, 404, "not-found").await;
    for method in [Method::POST, Method::DELETE, Method::PUT] {
        let request = read_side.query_api.request(method, "/api/get_current_money");
        let refused = request.send().await.unwrap();
        assert_eq!(refused.headers()["allow"], "GET,HEAD");
        assert_problem(refused, 405, "method-not-allowed").await;
    }
    for (path, caching) in [
        ("/api/events", "no-store"),
        ("/api/sales/latest", "no-store"),
        ("/api/missing", "no-store"),
        ("/docs/query-api.json", "no-store"),
        ("/api/get_current_money", "private, no-cache"),
        ("/api/get_current_money?at_position=0", "private, no-cache"),
        ("/api/jwks.json", "public, max-age=300"),
    ] {
        assert_eq!(read_side.get(path).await.headers()["cache-control"], caching, "{path}");
    }
}

#[tokio::test]
async fn health_metrics_and_the_openapi_document_are_served() {
    let read_side = ReadSide::start().await;
    read_side.json("/api/get_current_money").await;
    assert_eq!(read_side.query_api.text("/livez").await, "alive\n");
    assert_eq!(read_side.query_api.text("/readyz").await, "ready\n");
    let metrics = read_side.query_api.text("/metrics").await;
    for line in [
        "sales_totals_position 0",
        "sales_totals_age_seconds",
        r#"sales_time_zones_info{version="20"#,
        r#"sales_http_request_duration_seconds_count{method="GET",route="/api/get_current_money",status="200"} 1"#,
    ] {
        assert!(metrics.contains(line), "{line} is missing in\n{metrics}");
    }
    let openapi = read_side.json("/docs/query-api.json").await;
    for path in ["/api/get_current_money", "/api/events", "/api/events/{event}", "/api/purchases/{purchase_id}"] {
        assert!(openapi["paths"][path]["get"]["responses"]["503"].is_object(), "{path} is not documented");
    }
    let representations = &openapi["paths"]["/api/events"]["get"]["responses"]["200"]["content"];
    assert!(representations["application/json"].is_object() && representations["application/x-ndjson"].is_object());
}

#[tokio::test]
async fn the_pages_are_compiled_against_what_is_served() {
    assert_committed("query-api", &ReadSide::start().await.json("/docs/query-api.json").await);
}

#[tokio::test]
async fn a_secret_may_come_from_a_file() {
    let databases = Databases::create().await;
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, secret: String| {
        let path = folder.path().join(name);
        std::fs::write(&path, secret + "\n").unwrap();
        path.to_str().unwrap().to_owned()
    };
    let event_store = file("event-store", databases.event_store_url("query_api"));
    let read_model = file("read-model", databases.read_model_url("query_api"));
    let environment = [("EVENT_STORE_URL_FILE", event_store.as_str()), ("READ_MODEL_URL_FILE", &read_model)];
    Service::start("query-api", Until::Ready, &environment).await;
}

#[test]
fn an_invalid_setting_is_named_without_showing_secrets() {
    let said = |environment: &[(&str, &str)]| {
        let mut query_api = std::process::Command::new(env!("CARGO_BIN_EXE_query-api"));
        let output = query_api.arg("serve").envs(environment.iter().copied()).output().unwrap();
        assert!(!output.status.success());
        String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
    };
    let missing = said(&[("EVENT_STORE_URL", "postgres://localhost/event_store")]);
    assert!(missing.contains("READ_MODEL_URL"), "{missing}");
    let wrong = said(&[("EVENT_STORE_URL", "secret word"), ("READ_MODEL_URL", "postgres://localhost/read_model")]);
    assert!(wrong.contains("EVENT_STORE_URL") && !wrong.contains("secret word"), "{wrong}");
    let no_zones = said(&[
        ("EVENT_STORE_URL", "postgres://localhost/event_store"),
        ("READ_MODEL_URL", "postgres://localhost/read_model"),
        ("TIME_ZONE_FOLDER", "/nonexistent"),
    ]);
    assert!(no_zones.contains("TIME_ZONE_FOLDER: /nonexistent has no time zone data"), "{no_zones}");
    let no_file =
        said(&[("EVENT_STORE_URL_FILE", "/nonexistent"), ("READ_MODEL_URL", "postgres://localhost/read_model")]);
    assert!(no_file.contains("EVENT_STORE_URL_FILE names /nonexistent"), "{no_file}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_model_that_was_never_reachable_is_reported() {
    let databases = Databases::create().await;
    let nothing_listens = ("READ_MODEL_URL", "postgres://query_api@127.0.0.1:1/read_model");
    let query_api = databases.start("query-api", Until::Live, &[nothing_listens]).await;
    let age = async || query_api.metric("sales_totals_age_seconds").await;
    // An attempt to connect takes two seconds.
    eventually("the totals grow old", async || age().await > 5.0).await;
    assert_eq!(query_api.log().matches("totals.waiting").count(), 1, "{}", query_api.log());
}

/// The event store is the database that purchases are written to. Nothing that pages poll or stream may add to its load.
#[tokio::test]
async fn pages_are_served_while_the_event_store_is_unreachable() {
    let databases = Databases::create().await;
    let proxy = Proxy::start(testing::postgres().address()).await;
    let event_store = databases.event_store_url_via("query_api", proxy.address());
    proxy.refuse(true);
    let read_side = ReadSide::start_with(databases, &[("EVENT_STORE_URL", &event_store)]).await;

    let position = read_side.databases.append(&[purchased("pro", 19_900)]).await;
    assert_eq!(read_side.json(&format!("/api/get_current_money?min_position={position}")).await["sales_count"], 1);
    assert_eq!(read_side.get("/api/sales/stream").await.status(), 200);
    assert_eq!(read_side.json("/api/sales/latest").await["purchases"][0]["position"], position);
    assert_eq!(read_side.json("/api/sales/history?interval=hour").await["position"], position);
    for path in ["/api/events", "/api/events/1", "/api/get_current_money?at_position=1"] {
        assert_problem(read_side.get(path).await, 503, "unavailable").await;
    }
}

#[tokio::test]
async fn a_client_cannot_fill_the_log() {
    let read_side = ReadSide::start().await;
    let (before, started) = (read_side.query_api.log().len(), Instant::now());
    let path = format!("/api/session/callback?state=s&error={}", "A".repeat(8000));
    for _ in 0..100 {
        read_side.request(&path).header("cookie", "sign-in-s=nonce.verifier").send().await.unwrap();
    }
    // One line per second at most, and a short one.
    let seconds = usize::try_from(started.elapsed().as_secs()).unwrap();
    let log = read_side.query_api.log();
    assert!(log.contains("the issuer reports") && log.len() - before < (seconds + 2) * 1000, "{log}");
}
