//! The read side against real Postgres and a real projector.

mod events;
mod export;
mod history;
mod latest;
mod license_key;
mod past;
mod stream;

use reqwest::{Client, Response};
use serde_json::{Value, json};
use testing::{Databases, Proxy, Service, Until, assert_committed, eventually, own_postgres, purchased, reset};
use tokio::task::spawn_blocking;

/// Nothing listens there: the projector follows the event store then, and query-api never needs NATS.
const NO_NATS: &str = "nats://127.0.0.1:1";

struct ReadSide {
    databases: Databases,
    query_api: Service,
    _projector: Service,
    client: Client,
}

impl ReadSide {
    async fn start() -> Self {
        let databases = Databases::create().await;
        let read_model_url = databases.read_model_url("query_api");
        Self::start_with(databases, &read_model_url).await
    }

    async fn start_with(databases: Databases, read_model_url: &str) -> Self {
        let projector = projector(&databases).await;
        let query_api = query_api(&databases, read_model_url).await;
        Self { databases, query_api, _projector: projector, client: Client::new() }
    }

    async fn get(&self, path: &str) -> Response {
        self.client.get(format!("{}{path}", self.query_api.url())).send().await.unwrap()
    }

    /// Waits until the totals reflect the whole log. Returns its end.
    async fn settled(&self) -> i64 {
        let position = self.databases.head().await;
        self.json(&format!("/api/get_current_money?min_position={position}")).await;
        position
    }

    /// Builds the read model anew.
    async fn rebuild(&self) {
        let (event_store, read_model) =
            (self.databases.event_store_url("projector"), self.databases.read_model_url("projector"));
        Service::run("projector", "rebuild", &[("EVENT_STORE_URL", &event_store), ("READ_MODEL_URL", &read_model)])
            .await;
    }

    async fn json(&self, path: &str) -> Value {
        let response = self.get(path).await;
        assert_eq!(response.status(), 200, "{path}");
        response.json().await.unwrap()
    }
}

async fn projector(databases: &Databases) -> Service {
    let (event_store, read_model) = (databases.event_store_url("projector"), databases.read_model_url("projector"));
    let environment =
        [("EVENT_STORE_URL", event_store.as_str()), ("READ_MODEL_URL", &read_model), ("NATS_URL", NO_NATS)];
    Service::start("projector", Until::Ready, &environment).await
}

async fn query_api(databases: &Databases, read_model_url: &str) -> Service {
    let event_store = databases.event_store_url("query_api");
    let environment = [("EVENT_STORE_URL", event_store.as_str()), ("READ_MODEL_URL", read_model_url)];
    Service::start("query-api", Until::Ready, &environment).await
}

async fn assert_problem(response: Response, status: u16, kind: &str) {
    let url = response.url().clone();
    assert_eq!(response.status(), status, "{url}");
    assert_eq!(response.headers()["content-type"], "application/problem+json", "{url}");
    let problem: Value = response.json().await.unwrap();
    assert_eq!(problem["type"], format!("urn:sales:problem:{kind}"), "{url}");
}

#[tokio::test]
async fn before_the_first_sale_everything_is_zero() {
    let read_side = ReadSide::start().await;
    let zero = json!({ "amount_minor": 0, "currency": "EUR" });
    let none = json!({ "sales_count": 0, "revenue": zero });
    let mut current = read_side.json("/api/get_current_money").await;
    assert!(current["as_of"].take().is_string());
    assert_eq!(
        current,
        json!({
            "sales_count": 0, "revenue": zero, "position": 0, "as_of": null,
            "by_license": { "basic": none, "pro": none, "enterprise": none },
        })
    );
    assert_eq!(read_side.json("/api/events").await, json!({ "events": [], "next": null }));
}

#[tokio::test]
async fn a_reader_that_names_a_position_sees_its_own_writes() {
    let read_side = ReadSide::start().await;
    for _ in 0..20 {
        let events = [purchased("pro", 19_900), purchased("basic", 4_900), purchased("pro", 19_900)];
        let position = read_side.databases.append(&events).await;
        let current = read_side.json(&format!("/api/get_current_money?min_position={position}")).await;
        assert_eq!(current["position"], position);
        let expected = read_side.databases.count_log().await;
        assert_eq!(current["by_license"]["pro"]["sales_count"], expected["pro"].0);
        assert_eq!(current["by_license"]["pro"]["revenue"]["amount_minor"], expected["pro"].1);
        assert_eq!(current["sales_count"], expected.values().map(|total| total.0).sum::<i64>());
        assert_eq!(current["revenue"]["amount_minor"], expected.values().map(|total| total.1).sum::<i64>());
    }
    let position = read_side.databases.append(&[reset()]).await;
    let current = read_side.json(&format!("/api/get_current_money?min_position={position}")).await;
    assert_eq!(current["sales_count"], 0);
    let recorded_at: String = sqlx::query_scalar(
        "select to_char(recorded_at at time zone 'utc', 'YYYY-MM-DD\"T\"HH24:MI:SS') from event where event_type = 'SalesReset'",
    )
    .fetch_one(read_side.databases.event_store())
    .await
    .unwrap();
    let as_of = current["as_of"].as_str().unwrap();
    assert!(as_of.starts_with(&recorded_at), "{as_of} is not the time of the last event, {recorded_at}");
}

#[tokio::test]
async fn a_position_that_is_not_reached_in_time_is_answered_503() {
    let read_side = ReadSide::start().await;
    // The projector stops in front of what it does not understand.
    read_side.databases.append(&[("LicenseRented", "{}".to_owned())]).await;
    let response = read_side.get("/api/get_current_money?min_position=1").await;
    assert_eq!(response.headers()["retry-after"], "1");
    assert_problem(response, 503, "unavailable").await;
}

#[tokio::test]
async fn a_position_beyond_the_end_of_the_log_is_not_waited_for() {
    let read_side = ReadSide::start().await;
    let position = read_side.databases.append(&[purchased("pro", 19_900)]).await;
    for beyond in [position + 1, i64::MAX] {
        let response = read_side.get(&format!("/api/get_current_money?min_position={beyond}")).await;
        assert_problem(response, 404, "unknown-position").await;
    }
}

#[tokio::test]
async fn totals_that_did_not_change_are_not_sent_again() {
    let read_side = ReadSide::start().await;
    let get = |etag: String| {
        let url = format!("{}/api/get_current_money", read_side.query_api.url());
        read_side.client.get(url).header("if-none-match", etag).send()
    };
    let first = read_side.get("/api/get_current_money").await;
    let etag = first.headers()["etag"].to_str().unwrap().to_owned();
    for matching in [etag.clone(), format!("W/{etag}"), format!("\"other\", {etag}"), "*".to_owned()] {
        let response = get(matching.clone()).await.unwrap();
        assert_eq!(response.status(), 304, "{matching}");
        assert_eq!(response.headers()["etag"], etag);
        assert_eq!(response.bytes().await.unwrap().len(), 0);
    }
    let position = read_side.databases.append(&[purchased("pro", 1)]).await;
    read_side.json(&format!("/api/get_current_money?min_position={position}")).await;
    assert_eq!(get(etag).await.unwrap().status(), 200);
}

#[tokio::test]
async fn auditors_read_the_log_page_by_page_as_cloud_events() {
    let read_side = ReadSide::start().await;
    read_side.databases.append(&vec![purchased("pro", 19_900); 5]).await;
    read_side.databases.append(&[reset()]).await;
    let (mut next, mut positions) = (Some("/api/events?limit=4".to_owned()), Vec::new());
    while let Some(path) = next {
        let page = read_side.json(&path).await;
        for event in page["events"].as_array().unwrap() {
            assert_eq!(event["specversion"], "1.0");
            assert_eq!(event["source"], "/sales/event-store");
            assert!(event["id"].is_string() && event["time"].is_string());
            assert_eq!(event["schemaversion"], 1);
            positions.push(event["position"].as_i64().unwrap());
        }
        next = page["next"].as_str().map(str::to_owned);
    }
    assert_eq!(positions, [1, 2, 3, 4, 5, 6]);
    let page = read_side.json("/api/events?after=4&limit=1").await;
    assert_eq!(page["events"][0]["type"], "LicensePurchased");
    assert_eq!(
        page["events"][0]["data"],
        json!({ "license": "pro", "price": { "amount_minor": 19_900, "currency": "EUR" } })
    );
    assert_eq!(read_side.json("/api/events?after=5").await["events"][0]["type"], "SalesReset");
    assert_eq!(read_side.json("/api/events?after=9223372036854775807").await["events"], json!([]));
}

#[tokio::test]
async fn auditors_can_read_even_what_this_program_does_not_understand() {
    let read_side = ReadSide::start().await;
    read_side.databases.append(&[("LicenseRented", r#"{"days":3}"#.to_owned())]).await;
    let page = read_side.json("/api/events").await;
    assert_eq!(page["events"][0]["type"], "LicenseRented");
    assert_eq!(page["events"][0]["data"], json!({ "days": 3 }));
}

#[tokio::test]
async fn a_hole_in_the_log_is_an_alarm_and_not_a_page() {
    let read_side = ReadSide::start().await;
    read_side.databases.append(&vec![purchased("pro", 1); 3]).await;
    sqlx::raw_sql("alter table event disable trigger all; delete from event where position = 2")
        .execute(read_side.databases.event_store())
        .await
        .unwrap();
    assert_problem(read_side.get("/api/events").await, 500, "internal").await;
    assert!(read_side.query_api.log().contains("position 2 is missing"), "{}", read_side.query_api.log());
}

#[tokio::test]
async fn a_receipt_can_be_read_again_by_its_number() {
    let read_side = ReadSide::start().await;
    read_side.databases.append(&[purchased("enterprise", 99_900), reset()]).await;
    let ids: Vec<String> = sqlx::query_scalar("select event_id::text from event order by position")
        .fetch_all(read_side.databases.event_store())
        .await
        .unwrap();
    let receipt = read_side.json(&format!("/api/purchases/{}", ids[0])).await;
    assert_eq!(receipt["purchase_id"], ids[0]);
    assert_eq!(receipt["position"], 1);
    assert_eq!(receipt["license"], "enterprise");
    assert_eq!(receipt["price"], json!({ "amount_minor": 99_900, "currency": "EUR" }));
    for unknown in [&ids[1], "00000000-0000-0000-0000-000000000000", "7", "%ff"] {
        assert_problem(read_side.get(&format!("/api/purchases/{unknown}")).await, 404, "unknown-purchase").await;
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_query_is_said() {
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
    let url = format!("{}/api/get_current_money", read_side.query_api.url());
    for request in [read_side.client.post(&url), read_side.client.delete(&url), read_side.client.put(&url)] {
        assert_problem(request.send().await.unwrap(), 405, "method-not-allowed").await;
    }
}

#[tokio::test]
async fn every_replica_follows_and_a_cut_connection_only_delays_it() {
    let databases = Databases::create().await;
    let proxy = Proxy::start(testing::postgres().address()).await;
    let via_proxy = databases.read_model_url_via("query_api", proxy.address());
    let first = ReadSide::start_with(databases, &via_proxy).await;
    let second = query_api(&first.databases, &first.databases.read_model_url("query_api")).await;
    for round in 1..=10 {
        let position = first.databases.append(&[purchased("pro", round)]).await;
        proxy.cut();
        for replica in [&first.query_api, &second] {
            let url = format!("{}/api/get_current_money?min_position={position}", replica.url());
            let current: Value = first.client.get(url).send().await.unwrap().json().await.unwrap();
            assert_eq!(current["sales_count"], round);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_any_database_it_serves_the_last_totals_and_says_how_old_they_are() {
    let mut postgres = spawn_blocking(own_postgres).await.unwrap();
    let databases = Databases::create_in(&postgres).await;
    let read_model_url = databases.read_model_url("query_api");
    let read_side = ReadSide::start_with(databases, &read_model_url).await;
    let position = read_side.databases.append(&[purchased("pro", 19_900)]).await;
    let current = read_side.json(&format!("/api/get_current_money?min_position={position}")).await;

    let mut postgres = spawn_blocking(move || {
        postgres.stop();
        postgres
    })
    .await
    .unwrap();
    assert_eq!(read_side.json("/api/get_current_money").await, current);
    assert!(read_side.query_api.is(Until::Ready).await, "it can still answer");
    let age = async || {
        let age = read_side.get("/api/get_current_money").await.headers()["age"].to_str().unwrap().to_owned();
        age.parse::<u64>().unwrap()
    };
    eventually("the totals grow old", async || age().await >= 3).await;
    assert_problem(read_side.get("/api/events").await, 503, "unavailable").await;

    let _postgres = spawn_blocking(move || {
        postgres.start();
        postgres
    })
    .await
    .unwrap();
    eventually("the totals are fresh again", async || age().await <= 2).await;
    let position = read_side.databases.append(&[purchased("pro", 19_900)]).await;
    let current = read_side.json(&format!("/api/get_current_money?min_position={position}")).await;
    assert_eq!(current["sales_count"], 2);
}

#[tokio::test]
async fn operators_see_health_metrics_and_the_interface() {
    let read_side = ReadSide::start().await;
    read_side.json("/api/get_current_money").await;
    let text = async |path: &str| {
        let response = read_side.get(path).await;
        assert_eq!(response.status(), 200, "{path}");
        response.text().await.unwrap()
    };
    assert_eq!(text("/livez").await, "alive\n");
    assert_eq!(text("/readyz").await, "ready\n");
    let metrics = text("/metrics").await;
    for line in [
        "sales_totals_position 0",
        "sales_totals_age_seconds",
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
fn a_wrong_setting_is_named_and_no_secret_is_shown() {
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
    let no_file =
        said(&[("EVENT_STORE_URL_FILE", "/nonexistent"), ("READ_MODEL_URL", "postgres://localhost/read_model")]);
    assert!(no_file.contains("EVENT_STORE_URL_FILE names /nonexistent"), "{no_file}");
}
