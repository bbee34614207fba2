//! Sales over time: across clock changes, resets and rebuilds.

use serde_json::{Value, json};
use testing::{assert_problem, eventually, purchased, reset};

use crate::{ReadSide, tag};

impl ReadSide {
    async fn history(&self, query: &str) -> Value {
        self.json(&format!("/api/sales/history?{query}")).await
    }
}

/// Beginning, number and cents of the buckets with sales.
fn sold(history: &Value) -> Vec<(&str, i64, i64)> {
    let buckets = history["buckets"].as_array().unwrap().iter().map(|bucket| {
        let (count, revenue) = (&bucket["sales_count"], &bucket["revenue"]["amount_minor"]);
        (bucket["from"].as_str().unwrap(), count.as_i64().unwrap(), revenue.as_i64().unwrap())
    });
    buckets.filter(|(_, count, _)| *count > 0).collect()
}

fn count(history: &Value) -> usize {
    history["buckets"].as_array().unwrap().len()
}

/// The history of an hour.
const HOUR: &str = "/api/sales/history?interval=hour&from=2026-11-01T12:00:00Z&to=2026-11-01T13:00:00Z";

/// A purchase in each quarter of an hour, worth 1, 10, 100 … cents.
async fn sell(read_side: &ReadSide, quarters: &[&str]) {
    let mut cents = 1;
    for quarter in quarters {
        read_side.databases.append_at(quarter, &[purchased("pro", cents)]).await;
        cents *= 10;
    }
}

#[tokio::test]
async fn in_spring_a_day_has_23_hours() {
    let read_side = ReadSide::start().await;
    sell(
        &read_side,
        &[
            "2026-03-28 22:59:59.999999+00", // still the 28th
            "2026-03-28 23:00:00+00",
            "2026-03-29 00:59:59+00", // 01:59:59, the last second before the change
            "2026-03-29 01:00:00+00", // 03:00:00
            "2026-03-29 21:59:59+00",
            "2026-03-29 22:00:00+00", // the 30th
        ],
    )
    .await;
    let position = read_side.settled().await;
    let days = read_side.history("interval=day&from=2026-03-29T12:00:00Z&to=2026-03-29T12:00:01Z").await;
    assert_eq!(days["from"], "2026-03-28T23:00:00Z");
    assert_eq!(days["to"], "2026-03-29T22:00:00Z");
    assert_eq!(sold(&days), [("2026-03-28T23:00:00Z", 4, 11_110)]);
    assert_eq!((&days["interval"], &days["time_zone"]), (&json!("day"), &json!("Europe/Berlin")));
    assert_eq!(days["position"], position);
    assert_eq!(days["as_of"], "2026-03-29T22:00:00Z");
    let hours = read_side.history("interval=hour&from=2026-03-28T23:00:00Z&to=2026-03-29T22:00:00Z").await;
    assert_eq!(count(&hours), 23);
    assert_eq!(
        sold(&hours),
        [
            ("2026-03-28T23:00:00Z", 1, 10),
            ("2026-03-29T00:00:00Z", 1, 100),
            ("2026-03-29T01:00:00Z", 1, 1000),
            ("2026-03-29T21:00:00Z", 1, 10_000),
        ]
    );
}

#[tokio::test]
async fn in_autumn_a_day_has_25_hours_and_one_of_them_repeats() {
    let read_side = ReadSide::start().await;
    sell(
        &read_side,
        &[
            "2026-10-24 22:00:00+00",
            "2026-10-25 00:30:00+00", // 02:30 for the first time
            "2026-10-25 01:30:00+00", // 02:30 for the second time
            "2026-10-25 22:59:59+00",
            "2026-10-25 23:00:00+00", // the 26th
        ],
    )
    .await;
    read_side.settled().await;
    let days = read_side.history("interval=day&from=2026-10-24T22:00:00Z&to=2026-10-26T23:00:00Z").await;
    assert_eq!(sold(&days), [("2026-10-24T22:00:00Z", 4, 1111), ("2026-10-25T23:00:00Z", 1, 10_000)]);
    assert_eq!(count(&days), 2);
    let hours = read_side.history("interval=hour&from=2026-10-24T22:00:00Z&to=2026-10-25T23:00:00Z").await;
    assert_eq!(count(&hours), 25);
    assert_eq!(sold(&hours)[1..3], [("2026-10-25T00:00:00Z", 1, 10), ("2026-10-25T01:00:00Z", 1, 100)]);
    let csv = read_side
        .get("/api/sales/history?interval=hour&from=2026-10-25T00:00:00Z&to=2026-10-25T02:00:00Z&format=csv")
        .await;
    assert_eq!(csv.headers()["content-type"], "text/csv; charset=utf-8");
    assert!(csv.headers()["content-disposition"].to_str().unwrap().starts_with("attachment"));
    assert_eq!(csv.headers()["sales-position"], "5");
    let lines = [
        "from,to,license,sales_count,revenue,currency,resets",
        "2026-10-25T02:00:00+02:00,2026-10-25T02:00:00+01:00,basic,0,0.00,EUR,0",
        "2026-10-25T02:00:00+02:00,2026-10-25T02:00:00+01:00,pro,1,0.10,EUR,0",
        "2026-10-25T02:00:00+02:00,2026-10-25T02:00:00+01:00,enterprise,0,0.00,EUR,0",
        "2026-10-25T02:00:00+01:00,2026-10-25T03:00:00+01:00,basic,0,0.00,EUR,0",
        "2026-10-25T02:00:00+01:00,2026-10-25T03:00:00+01:00,pro,1,1.00,EUR,0",
        "2026-10-25T02:00:00+01:00,2026-10-25T03:00:00+01:00,enterprise,0,0.00,EUR,0",
    ];
    assert_eq!(csv.text().await.unwrap(), lines.map(|line| format!("{line}\r\n")).concat());
}

#[tokio::test]
async fn a_time_zone_may_be_offset_by_three_quarters_of_an_hour() {
    let read_side = ReadSide::start().await;
    // In Kathmandu, midnight is at 18:15 UTC.
    sell(&read_side, &["2026-10-24 18:14:59+00", "2026-10-24 18:15:00+00", "2026-10-25 18:14:59+00"]).await;
    read_side.settled().await;
    let range = "from=2026-10-24T18:00:00Z&to=2026-10-25T18:15:00Z&time_zone=Asia/Kathmandu";
    let days = read_side.history(&format!("interval=day&{range}")).await;
    assert_eq!(sold(&days), [("2026-10-23T18:15:00Z", 1, 1), ("2026-10-24T18:15:00Z", 2, 110)]);
    let hours = read_side.history(&format!("interval=hour&{range}")).await;
    assert_eq!(
        sold(&hours),
        [("2026-10-24T17:15:00Z", 1, 1), ("2026-10-24T18:15:00Z", 1, 10), ("2026-10-25T17:15:00Z", 1, 100)]
    );
    let minutes = read_side
        .history("interval=minute&from=2026-10-24T18:14:00Z&to=2026-10-24T18:16:00Z&time_zone=Asia/Kathmandu")
        .await;
    assert_eq!(sold(&minutes), [("2026-10-24T18:14:00Z", 1, 1), ("2026-10-24T18:15:00Z", 1, 10)]);
}

#[tokio::test]
async fn a_reset_is_listed_and_removes_no_sales() {
    let read_side = ReadSide::start().await;
    read_side.databases.append_at("2026-11-01 12:00:01+00", &[purchased("pro", 100), purchased("basic", 20)]).await;
    read_side.databases.append_at("2026-11-01 12:00:02+00", &[reset(), purchased("pro", 3)]).await;
    read_side.databases.append_at("2026-11-01 12:01:00+00", &[reset()]).await;
    let position = read_side.settled().await;
    let range = "interval=minute&from=2026-11-01T12:00:00Z&to=2026-11-01T12:01:00Z";
    let minute = read_side.history(range).await;
    let eur = |cents| json!({ "amount_minor": cents, "currency": "EUR" });
    assert_eq!(
        minute,
        json!({
            "interval": "minute", "time_zone": "Europe/Berlin", "position": position, "as_of": "2026-11-01T12:01:00Z",
            "from": "2026-11-01T12:00:00Z", "to": "2026-11-01T12:01:00Z",
            "buckets": [{
                "from": "2026-11-01T12:00:00Z", "to": "2026-11-01T12:01:00Z", "sales_count": 3, "revenue": eur(123),
                "by_license": {
                    "basic": { "sales_count": 1, "revenue": eur(20) },
                    "pro": { "sales_count": 2, "revenue": eur(103) },
                    "enterprise": { "sales_count": 0, "revenue": eur(0) },
                },
            }],
            "resets": [{ "position": 3, "reset_at": "2026-11-01T12:00:02Z", "reason": null }],
        })
    );
    let csv = read_side.get(&format!("/api/sales/history?{range}&format=csv")).await.text().await.unwrap();
    assert!(csv.contains(",pro,2,1.03,EUR,1\r\n"), "{csv}");
}

#[tokio::test]
async fn without_a_range_the_history_ends_now() {
    let read_side = ReadSide::start().await;
    read_side.databases.append(&[purchased("pro", 19_900)]).await;
    read_side.settled().await;
    for (interval, counts) in [("minute", 60..=61), ("hour", 48..=49), ("day", 30..=32)] {
        let history = read_side.history(&format!("interval={interval}")).await;
        assert!(counts.contains(&count(&history)), "{interval}: {}", count(&history));
        assert_eq!(sold(&history).len(), 1);
    }
}

#[tokio::test]
async fn an_unchanged_history_is_answered_304() {
    let read_side = ReadSide::start().await;
    read_side.databases.append_at("2026-11-01 12:00:00+00", &[purchased("pro", 1)]).await;
    read_side.settled().await;
    let stored = tag(&read_side.get(HOUR).await);
    let response = read_side.get_again(HOUR, &stored).await;
    assert_eq!(response.status(), 304);
    assert_eq!(response.headers()["sales-position"], "1");
    read_side.databases.append(&[purchased("pro", 1)]).await;
    read_side.settled().await;
    let response = read_side.get_again(HOUR, &stored).await;
    assert_eq!(response.status(), 200);
    // A rebuild may correct the history.
    let stored = tag(&response);
    read_side.databases.rebuild().await;
    eventually("the tag changes", async || read_side.get_again(HOUR, &stored).await.status() == 200).await;
}

#[tokio::test]
async fn a_replica_that_lags_does_not_report_a_history_as_unchanged() {
    let read_side = ReadSide::start().await;
    read_side.databases.append_at("2026-11-01 12:00:00+00", &[purchased("pro", 1)]).await;
    read_side.settled().await;
    let stored = tag(&read_side.get(HOUR).await);
    // The projection advances without a notification. This replica notices within a second; meanwhile another one may have streamed it.
    read_side
        .databases
        .change_read_model("update projection set (position, history_position) = (2, 2) where live")
        .await;
    let response = read_side.get_again(HOUR, &stored).await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["sales-position"], "2");
}

#[tokio::test]
async fn a_range_with_too_many_resets_is_answered_400() {
    let read_side = ReadSide::start().await;
    read_side.databases.append_at("2026-11-01 12:00:00+00", &vec![reset(); 1000]).await;
    read_side.databases.append_at("2026-11-01 13:00:00+00", &[reset()]).await;
    read_side.settled().await;
    let hour = read_side.history("interval=hour&from=2026-11-01T12:00:00Z&to=2026-11-01T13:00:00Z").await;
    assert_eq!(hour["resets"].as_array().unwrap().len(), 1000);
    let hours = "/api/sales/history?interval=hour&from=2026-11-01T12:00:00Z&to=2026-11-01T14:00:00Z";
    for format in ["json", "csv"] {
        assert_problem(read_side.get(&format!("{hours}&format={format}")).await, 400, "invalid-query").await;
    }
}

#[tokio::test]
async fn invalid_ranges_are_answered_400() {
    let read_side = ReadSide::start().await;
    for query in [
        "",
        "interval=week",
        "interval=Hour",
        "interval=hour&time_zone=",
        "interval=hour&time_zone=Mars/Olympus_Mons",
        "interval=hour&time_zone=europe/berlin",
        "interval=hour&format=xml",
        "interval=hour&from=yesterday",
        "interval=hour&from=2026-11-01T12:00:00Z&to=2026-11-01T12:00:00Z",
        "interval=hour&from=2026-11-01T12:00:01Z&to=2026-11-01T12:00:00Z",
        "interval=minute&from=2026-11-01T12:00:00Z&to=2026-11-02T13:00:01Z",
        "interval=day&from=0000-01-01T00:00:00Z&to=9999-12-31T23:59:59Z",
        "interval=hour&zone=UTC",
    ] {
        assert_problem(read_side.get(&format!("/api/sales/history?{query}")).await, 400, "invalid-query").await;
    }
    assert_eq!(
        count(&read_side.history("interval=minute&from=2026-11-01T12:00:00Z&to=2026-11-02T13:00:00Z").await),
        1500
    );
}

/// RFC 3339 has the years 0000 to 9999, and offsets of whole minutes.
#[tokio::test]
async fn every_time_of_a_history_is_one_of_rfc_3339_and_the_same_in_json_and_csv() {
    let read_side = ReadSide::start().await;
    for query in [
        "interval=day&from=0000-01-01T00:00:00Z&to=0000-01-01T00:00:01Z&time_zone=UTC",
        "interval=hour&from=0000-01-01T01:00:00Z&to=0000-01-01T02:00:00Z",
        "interval=day&from=9999-12-30T12:00:00Z&to=9999-12-30T12:00:01Z&time_zone=UTC",
        "interval=minute&from=9999-12-31T23:58:00Z&to=9999-12-31T23:59:00Z&time_zone=UTC",
        // Local mean time, 53 minutes and 28 seconds before UTC; and the last zone with such an offset.
        "interval=day&from=1890-01-01T12:00:00Z&to=1890-01-03T12:00:00Z",
        "interval=hour&from=1971-12-31T12:00:00Z&to=1971-12-31T15:00:00Z&time_zone=Africa/Monrovia",
    ] {
        let history = read_side.history(query).await;
        let csv = read_side.get(&format!("/api/sales/history?{query}&format=csv")).await.text().await.unwrap();
        let moment =
            |text: &str| chrono::DateTime::parse_from_rfc3339(text).unwrap_or_else(|_| panic!("{text}: {query}"));
        let expected = history["buckets"]
            .as_array()
            .unwrap()
            .iter()
            .map(|bucket| ["from", "to"].map(|end| moment(bucket[end].as_str().unwrap()).to_utc()));
        let found = csv.lines().skip(1).step_by(3).map(|line| {
            let mut fields = line.split(',');
            [(); 2].map(|()| moment(fields.next().unwrap()).to_utc())
        });
        assert!(found.eq(expected), "{query}\n{csv}\n{history}");
    }
    for query in [
        // The bucket begins in the year -1, or ends in the year 10000.
        "interval=day&from=0000-01-01T00:00:00Z&to=0000-01-01T00:00:01Z",
        "interval=minute&from=9999-12-31T23:59:00Z&to=9999-12-31T23:59:60Z&time_zone=UTC",
        // In the time zone alone.
        "interval=minute&from=9999-12-31T23:00:00Z&to=9999-12-31T23:01:00Z",
        "interval=minute&from=0000-01-01T00:00:00Z&to=0000-01-01T00:01:00Z&time_zone=America/New_York",
        // By default the range begins before the year 0.
        "interval=minute&to=0000-01-01T00:01:00Z",
    ] {
        for format in ["json", "csv"] {
            let path = format!("/api/sales/history?{query}&format={format}");
            assert_problem(read_side.get(&path).await, 400, "invalid-query").await;
        }
    }
}

/// The proxy compresses the history: several sequences of bytes have one tag.
#[tokio::test]
async fn the_tag_of_a_history_is_weak_and_caches_keep_one_per_encoding() {
    let read_side = ReadSide::start().await;
    read_side.settled().await;
    let response = read_side.get(HOUR).await;
    let stored = tag(&response);
    let again = read_side.get_again(HOUR, &stored).await;
    assert_eq!((response.status(), again.status()), (reqwest::StatusCode::OK, reqwest::StatusCode::NOT_MODIFIED));
    for response in [response, again] {
        assert!(tag(&response).starts_with("W/\""), "{stored}");
        assert_eq!(response.headers()["vary"], "accept-encoding");
        assert_eq!(response.headers()["cache-control"], "private, no-cache");
    }
}
