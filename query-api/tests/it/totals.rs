//! The newest totals.

use serde_json::{Value, json};
use testing::{Databases, Proxy, Until, assert_problem, eventually, own_postgres, purchased, reset, values};

use crate::{ReadSide, tag};

#[tokio::test]
async fn before_the_first_sale_all_totals_are_zero() {
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
    assert_eq!(read_side.json("/api/events").await, json!({ "events": [], "metadata": [], "next": null }));
}

#[tokio::test]
async fn min_position_makes_clients_read_their_own_writes() {
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
    let select = r#"select to_char(recorded_at at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS') from event where event_type = 'SalesReset'"#;
    let recorded_at: Vec<String> = values(read_side.databases.event_store(), select).await;
    let as_of = current["as_of"].as_str().unwrap();
    assert!(as_of.starts_with(&recorded_at[0]), "{as_of} is not the time of the last event, {recorded_at:?}");
}

#[tokio::test]
async fn a_min_position_not_reached_in_time_is_answered_503() {
    let read_side = ReadSide::start().await;
    // The projector stops before an unknown event.
    read_side.databases.append_unchecked(&[("LicenseRented", "{}".to_owned())]).await;
    let response = read_side.get("/api/get_current_money?min_position=1").await;
    assert_eq!(response.headers()["retry-after"], "1");
    assert_problem(response, 503, "unavailable").await;
}

#[tokio::test]
async fn a_min_position_beyond_the_end_of_the_log_is_answered_404() {
    let read_side = ReadSide::start().await;
    let position = read_side.databases.append(&[purchased("pro", 19_900)]).await;
    for beyond in [position + 1, i64::MAX] {
        let response = read_side.get(&format!("/api/get_current_money?min_position={beyond}")).await;
        assert_problem(response, 404, "unknown-position").await;
    }
}

#[tokio::test]
async fn unchanged_totals_are_answered_304() {
    let read_side = ReadSide::start().await;
    let etag = tag(&read_side.get("/api/get_current_money").await);
    for matching in [etag.clone(), format!("W/{etag}"), format!("\"other\", {etag}"), "*".to_owned()] {
        let response = read_side.get_again("/api/get_current_money", &matching).await;
        assert_eq!(response.status(), 304, "{matching}");
        assert_eq!(response.headers()["etag"], etag);
        assert_eq!(response.headers()["cache-control"], "private, no-cache");
        assert_eq!(response.bytes().await.unwrap().len(), 0);
    }
    let position = read_side.databases.append(&[purchased("pro", 1)]).await;
    read_side.json(&format!("/api/get_current_money?min_position={position}")).await;
    assert_eq!(read_side.get_again("/api/get_current_money", &etag).await.status(), 200);
}

#[tokio::test]
async fn every_replica_follows_and_a_lost_connection_only_delays_it() {
    let databases = Databases::create().await;
    let proxy = Proxy::start(testing::postgres().address()).await;
    let via_proxy = databases.read_model_url_via("query_api", proxy.address());
    let first = ReadSide::start_with(databases, &[("READ_MODEL_URL", &via_proxy)]).await;
    let second = first.databases.query_api().await;
    for round in 1..=10 {
        let position = first.databases.append(&[purchased("pro", round)]).await;
        proxy.cut();
        for replica in [&first.query_api, &second] {
            let current = replica.get(&format!("/api/get_current_money?min_position={position}")).await;
            let current: Value = current.json().await.unwrap();
            assert_eq!(current["sales_count"], round);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_databases_the_last_totals_are_served_with_their_age() {
    let mut postgres = own_postgres();
    let read_side = ReadSide::start_with(Databases::create_in(&postgres).await, &[]).await;
    let position = read_side.databases.append(&[purchased("pro", 19_900)]).await;
    let current = read_side.json(&format!("/api/get_current_money?min_position={position}")).await;

    postgres.stop();
    assert_eq!(read_side.json("/api/get_current_money").await, current);
    assert!(read_side.query_api.is(Until::Ready).await, "it is still ready");
    let age = async || {
        let age = read_side.get("/api/get_current_money").await.headers()["age"].to_str().unwrap().to_owned();
        age.parse::<u64>().unwrap()
    };
    eventually("the age grows", async || age().await >= 3).await;
    assert_problem(read_side.get("/api/events").await, 503, "unavailable").await;

    postgres.start();
    eventually("the totals are fresh again", async || age().await <= 2).await;
    let position = read_side.databases.append(&[purchased("pro", 19_900)]).await;
    let current = read_side.json(&format!("/api/get_current_money?min_position={position}")).await;
    assert_eq!(current["sales_count"], 2);
}
