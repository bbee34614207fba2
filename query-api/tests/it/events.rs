//! The log page by page, and single events.

use contract::event::EventType;
use reqwest::Response;
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;
use testing::{assert_problem, purchased, reset, values};

use crate::ReadSide;

/// Batches of purchases, each with its own time, and a reset after every third.
async fn a_week_of_sales(read_side: &ReadSide) {
    for batch in 1..=9 {
        read_side.databases.append(&vec![purchased("pro", batch); 3]).await;
        if batch % 3 == 0 {
            read_side.databases.append(&[reset()]).await;
        }
    }
}

/// Positions of the events that meet a condition, from the database itself.
async fn positions(read_side: &ReadSide, condition: &str) -> Vec<i64> {
    let select = format!("select position from event where {condition} order by position");
    values(read_side.databases.event_store(), &select).await
}

/// Positions of all events, following the links from page to page.
async fn follow(read_side: &ReadSide, address: &str) -> Vec<i64> {
    let (mut next, mut found) = (Some(address.to_owned()), Vec::new());
    while let Some(path) = next {
        let response = read_side.get(&path).await;
        assert_eq!(response.status(), 200, "{path}");
        assert_eq!(response.headers()["vary"], "accept");
        assert!(response.headers().contains_key("sales-position"), "{path}");
        let link = response.headers().get("link").map(|link| link.to_str().unwrap().to_owned());
        let page: Value = response.json().await.unwrap();
        found.extend(page["events"].as_array().unwrap().iter().map(|event| event["position"].as_i64().unwrap()));
        next = page["next"].as_str().map(str::to_owned);
        assert_eq!(link, next.as_ref().map(|next| format!("<{next}>; rel=\"next\"")));
    }
    found
}

#[tokio::test]
async fn following_the_links_yields_every_matching_event_once() {
    let read_side = ReadSide::start().await;
    a_week_of_sales(&read_side).await;
    for (filter, condition) in [
        ("", "true"),
        ("&after=4", "position > 4"),
        ("&until=17", "position <= 17"),
        ("&until=1000", "true"),
        ("&after=17&until=4", "false"),
        ("&type=SalesReset", "event_type = 'SalesReset'"),
        ("&type=LicensePurchased", "event_type = 'LicensePurchased'"),
        ("&type=LicensePurchased&after=5&until=21", "event_type = 'LicensePurchased' and position between 6 and 21"),
    ] {
        let expected = positions(&read_side, condition).await;
        for limit in [1, 2, 3, 7, 1000] {
            let found = follow(&read_side, &format!("/api/events?limit={limit}{filter}")).await;
            assert_eq!(found, expected, "{filter} {limit}");
        }
    }
}

#[tokio::test]
async fn pages_and_exports_have_the_position_that_they_reflect() {
    let read_side = ReadSide::start().await;
    a_week_of_sales(&read_side).await; // 30 events
    for (parameters, position) in [
        ("", 30),
        ("limit=2", 30),
        ("type=SalesReset", 30),
        ("until=17", 17),
        ("until=1000", 30),
        ("after=1000", 30),
        ("after=17&until=4", 4),
        ("to=2000-01-01T00:00:00Z", 0),
    ] {
        let page = read_side.get(&format!("/api/events?{parameters}")).await;
        for response in [page, lines(&read_side, parameters).await] {
            assert_eq!(response.headers()["sales-position"], position.to_string(), "{parameters}");
        }
    }
}

#[tokio::test]
async fn from_is_inclusive_and_to_is_exclusive() {
    let read_side = ReadSide::start().await;
    assert_eq!(follow(&read_side, "/api/events?from=2000-01-01T00:00:00Z").await, [0_i64; 0]);
    a_week_of_sales(&read_side).await;
    let select = r#"select distinct to_char(recorded_at at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.US') from event order by 1"#;
    let times: Vec<String> = values(read_side.databases.event_store(), select).await;
    assert!(times.len() >= 9);
    for time in &times {
        let later = positions(&read_side, &format!("recorded_at >= '{time}Z'")).await;
        let earlier = positions(&read_side, &format!("recorded_at < '{time}Z'")).await;
        let resets = positions(&read_side, &format!("recorded_at >= '{time}Z' and event_type = 'SalesReset'")).await;
        assert_eq!(follow(&read_side, &format!("/api/events?limit=4&from={time}Z")).await, later);
        assert_eq!(follow(&read_side, &format!("/api/events?limit=4&to={time}Z")).await, earlier);
        assert_eq!(follow(&read_side, &format!("/api/events?limit=1&type=SalesReset&from={time}Z")).await, resets);
        // Half a microsecond later, no event of that time is included.
        let after = positions(&read_side, &format!("recorded_at > '{time}Z'")).await;
        assert_eq!(follow(&read_side, &format!("/api/events?from={time}5Z")).await, after);
        assert_eq!(follow(&read_side, &format!("/api/events?from={time}Z&to={time}Z")).await, [0_i64; 0]);
    }
    let all = positions(&read_side, "true").await;
    let [everything, nothing] =
        ["from=0000-01-01T23:59:00%2B23:59&to=9999-12-31T23:59:60Z", "from=9999-12-31T23:59:60Z"];
    assert_eq!(follow(&read_side, &format!("/api/events?limit=7&{everything}")).await, all);
    assert_eq!(follow(&read_side, &format!("/api/events?{nothing}")).await, [0_i64; 0]);
    // The same instant with an offset of two hours. An unescaped plus sign in a query is a space.
    let moment = positions(&read_side, &format!("recorded_at >= '{}+02'", times[4])).await;
    assert_eq!(follow(&read_side, &format!("/api/events?from={}%2B02:00", times[4])).await, moment);
}

#[tokio::test]
async fn a_single_event_is_found_by_position_and_by_id_and_is_immutable() {
    let read_side = ReadSide::start().await;
    read_side.databases.append(&[purchased("pro", 19_900), reset()]).await;
    let page = read_side.json("/api/events").await;
    for event in page["events"].as_array().unwrap() {
        let (position, id) = (&event["position"], event["id"].as_str().unwrap());
        let get = async |name: &str| read_side.get(&format!("/api/events/{name}")).await;
        let (by_position, by_id) = (get(&position.to_string()).await, get(id).await);
        for response in [&by_position, &by_id] {
            assert_eq!(response.status(), 200);
            assert_eq!(response.headers()["content-type"], "application/cloudevents+json");
            assert_eq!(response.headers()["cache-control"], "private, max-age=31536000, immutable");
            assert_eq!(response.headers()["etag"], format!("\"{id}\""));
        }
        let (by_position, by_id) = (by_position.text().await.unwrap(), by_id.text().await.unwrap());
        assert_eq!(by_position, by_id);
        assert_eq!(serde_json::from_str::<Value>(&by_position).unwrap(), *event);
        let again = read_side.get_again(&format!("/api/events/{position}"), &format!("\"{id}\"")).await;
        assert_eq!(again.status(), 304);
    }
    for unknown in
        ["0", "3", "-1", "1.0", "9223372036854775808", "checkpoints", "%ff", "0190b0a0-0000-7000-8000-000000000001"]
    {
        assert_problem(read_side.get(&format!("/api/events/{unknown}")).await, 404, "unknown-event").await;
    }
}

#[tokio::test]
async fn rare_events_are_found_without_reading_the_log() {
    let read_side = ReadSide::start().await;
    for _ in 0..3 {
        read_side.databases.append(&vec![purchased("pro", 1); 2000]).await;
        read_side.databases.append(&[reset()]).await;
    }
    read_side.databases.change_event_store("analyze event").await;
    let explain = format!("explain {}", event_log::select_type(EventType::SalesReset));
    let plan: Vec<String> = sqlx::query_scalar(AssertSqlSafe(explain))
        .bind(0_i64)
        .bind(6003_i64)
        .bind(100_i64)
        .fetch_all(read_side.databases.event_store())
        .await
        .unwrap();
    let plan = plan.join("\n");
    assert!(plan.contains("Index Scan using event_rare_type"), "{plan}");
    assert!(!plan.contains("Seq Scan") && !plan.contains("event_position_key") && !plan.contains("Sort"), "{plan}");
}

#[tokio::test]
async fn invalid_filters_are_answered_400() {
    let read_side = ReadSide::start().await;
    for parameters in [
        "type=",
        "type=LicenseRented",
        "type=SalesReset&type=LicensePurchased",
        "from=",
        "from=yesterday",
        "from=2026-11-23",
        "from=2026-11-23T18:30:00",
        "to=2026-11-23T18:30:00+02:00",
        "to=-4800-01-01T00:00:00Z",
        "to=%2B12026-01-01T00:00:00Z",
        "from=0000-01-01T00:00:00%2B00:01",
        "to=9999-12-31T23:59:59-00:01",
        "to=2026-11-23T10:00:60Z",
        "from=2026-11-23T18:30:01Z&to=2026-11-23T18:30:00Z",
        "until=-1",
        "until=last",
        "event_type=SalesReset",
    ] {
        assert_problem(read_side.get(&format!("/api/events?{parameters}")).await, 400, "invalid-query").await;
        assert_problem(lines(&read_side, parameters).await, 400, "invalid-query").await;
    }
    assert_problem(lines(&read_side, "limit=0").await, 400, "invalid-query").await;
    let problem: Value = read_side.get("/api/events?type=LicenseRented").await.json().await.unwrap();
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("LicensePurchased") && detail.contains("SalesReset"), "{detail}");
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
async fn auditors_can_read_events_of_unknown_types() {
    let read_side = ReadSide::start().await;
    read_side.databases.append_unchecked(&[("LicenseRented", r#"{"days":3}"#.to_owned())]).await;
    let page = read_side.json("/api/events").await;
    assert_eq!(page["events"][0]["type"], "LicenseRented");
    assert_eq!(page["events"][0]["data"], json!({ "days": 3 }));
}

#[tokio::test]
async fn a_gap_in_the_log_is_answered_500_and_logged() {
    let read_side = ReadSide::start().await;
    read_side.databases.append(&vec![purchased("pro", 1); 3]).await;
    read_side.databases.tamper("delete from event where position = 2").await;
    assert_problem(read_side.get("/api/events").await, 500, "internal").await;
    assert!(read_side.query_api.log().contains("position 2 is missing"), "{}", read_side.query_api.log());
}

async fn lines(read_side: &ReadSide, parameters: &str) -> Response {
    let request = read_side.request(&format!("/api/events?{parameters}"));
    request.header("accept", "application/x-ndjson").send().await.unwrap()
}
