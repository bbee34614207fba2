//! Exports of the log.

use std::time::Duration;

use futures::{StreamExt, stream};
use reqwest::Response;
use serde_json::Value;
use testing::{assert_problem, eventually, purchased, reset, values};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::ReadSide;

/// As in the service.
const MAX_EXPORTS: usize = 8;
/// Longer than any wait of these tests.
const TEST_TIMEOUT: Duration = Duration::from_mins(1);

async fn request(read_side: &ReadSide, parameters: &str, accept: &str) -> Response {
    read_side.request(&format!("/api/events?{parameters}")).header("accept", accept).send().await.unwrap()
}

async fn export(read_side: &ReadSide, parameters: &str) -> String {
    let response = request(read_side, parameters, "application/x-ndjson").await;
    assert_eq!(response.status(), 200, "{parameters}");
    assert_eq!(response.headers()["content-type"], "application/x-ndjson");
    assert_eq!(response.headers()["vary"], "accept");
    response.text().await.unwrap()
}

fn positions(lines: &str) -> Vec<i64> {
    lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["position"].as_i64().unwrap()).collect()
}

/// Purchases, with one reset per thousand events.
async fn append(read_side: &ReadSide, thousands: usize) {
    let mut batch = vec![purchased("pro", 19_900); 1000];
    batch[500] = reset();
    for _ in 0..thousands {
        read_side.databases.append(&batch).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_has_one_event_per_line_and_resumes_with_the_same_bytes() {
    let read_side = ReadSide::start().await;
    append(&read_side, 21).await;
    let all = export(&read_side, "").await;
    let single_events: Vec<String> = stream::iter(1..=21_000)
        .map(async |position| read_side.get(&format!("/api/events/{position}")).await.text().await.unwrap() + "\n")
        .buffered(16)
        .collect()
        .await;
    assert!(all == single_events.concat(), "the bytes differ");
    for after in [1, 4999, 5000, 5001, 20_999, 21_000, 22_000] {
        let rest = export(&read_side, &format!("after={after}")).await;
        assert!(rest == single_events[after.min(21_000)..].concat(), "after {after} the bytes differ");
    }
    for (parameters, expected) in [
        ("limit=12345", (1..=12_345).collect()),
        ("after=100&until=10100", (101..=10_100).collect()),
        ("after=20000&limit=30000&until=20003", vec![20_001, 20_002, 20_003]),
        ("until=0", vec![]),
        ("type=SalesReset", (0..21).map(|thousand| thousand * 1000 + 501).collect()),
        ("type=SalesReset&limit=2&after=501", vec![1501, 2501]),
        ("type=LicensePurchased&limit=10000", (1..).filter(|position| position % 1000 != 501).take(10_000).collect()),
        ("type=LicensePurchased", (1..=21_000).filter(|position| position % 1000 != 501).collect::<Vec<i64>>()),
    ] {
        assert!(positions(&export(&read_side, parameters).await) == expected, "{parameters}");
    }
}

#[tokio::test]
async fn only_clients_that_accept_ndjson_get_an_export() {
    let read_side = ReadSide::start().await;
    append(&read_side, 1).await;
    for (accept, content_type) in [
        ("*/*", "application/json"),
        ("application/json", "application/json"),
        ("application/x-ndjson", "application/x-ndjson"),
        ("text/html, Application/X-NDJSON;q=0.9", "application/x-ndjson"),
        ("application/x-ndjson-not", "application/json"),
        ("application/x-ndjson;q=0", "application/json"),
        ("application/x-ndjson;q=0.5, application/json", "application/json"),
        ("application/x-ndjson, application/json;q=0.5", "application/x-ndjson"),
    ] {
        let response = request(&read_side, "limit=1", accept).await;
        assert_eq!(response.headers()["content-type"], content_type, "{accept}");
        assert_eq!(response.headers()["vary"], "accept", "{accept}");
    }
}

#[tokio::test]
async fn an_export_ends_at_the_end_of_the_log_as_of_the_request() {
    let read_side = ReadSide::start().await;
    append(&read_side, 30).await;
    let response = request(&read_side, "", "application/x-ndjson").await;
    append(&read_side, 3).await;
    assert_eq!(positions(&response.text().await.unwrap()), (1..=30_000).collect::<Vec<_>>());
}

#[tokio::test]
async fn an_export_with_a_gap_is_aborted_and_never_looks_complete() {
    let read_side = ReadSide::start().await;
    append(&read_side, 30).await;
    read_side.databases.tamper("delete from event where position = 19990").await;
    let response = request(&read_side, "", "application/x-ndjson").await;
    assert_eq!(response.status(), 200);
    assert!(response.bytes().await.is_err(), "the client notices that events are missing");
    assert!(read_side.query_api.log().contains("position 19990 is missing"), "{}", read_side.query_api.log());
    let response = request(&read_side, "after=19000", "application/x-ndjson").await;
    assert_problem(response, 500, "internal").await;
}

/// A client that requests an export and reads only its first bytes.
async fn stalled(read_side: &ReadSide) -> TcpStream {
    let mut client = TcpStream::connect(read_side.query_api.address()).await.unwrap();
    let request =
        "GET /api/events HTTP/1.1\r\nhost: sales\r\naccept: application/x-ndjson\r\nconnection: close\r\n\r\n";
    client.write_all(request.as_bytes()).await.unwrap();
    let mut status = [0; 15];
    client.read_exact(&mut status).await.unwrap();
    assert_eq!(&status, b"HTTP/1.1 200 OK");
    client
}

/// Resident memory in megabytes.
fn memory(read_side: &ReadSide) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", read_side.query_api.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
}

/// Whether for a while no query has been reading the log and no connection has held a snapshot.
async fn log_is_idle(read_side: &ReadSide) -> bool {
    let idle = values::<bool>(
        read_side.databases.event_store(),
        "select coalesce(bool_and(state = 'idle' and backend_xid is null and backend_xmin is null
                                  and clock_timestamp() - state_change > interval '300 milliseconds'), true)
         from pg_stat_activity where datname = current_database() and application_name = 'query-api'",
    );
    idle.await == [true]
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_stop_reading_hold_neither_memory_nor_a_snapshot_and_others_are_served() {
    let read_side = ReadSide::start().await;
    append(&read_side, 150).await;
    let mut clients = Vec::new();
    for _ in 0..MAX_EXPORTS {
        clients.push(stalled(&read_side).await);
    }
    eventually("the exports wait for their readers", async || log_is_idle(&read_side).await).await;
    // All of them together would be some 350 megabytes.
    let held = memory(&read_side);
    assert!(held < 100, "{held} MB are held for clients that do not read");

    let refused = request(&read_side, "", "application/x-ndjson").await;
    assert_eq!(refused.headers()["retry-after"], "1");
    assert_problem(refused, 503, "unavailable").await;
    for path in ["/api/events?after=149999", "/api/events/150000", "/api/get_current_money"] {
        assert_eq!(read_side.get(path).await.status(), 200, "{path}");
    }

    // One disconnects, which makes room for another. One continues to read and gets everything.
    clients.pop();
    let another = async || request(&read_side, "after=149000", "application/x-ndjson").await.status() == 200;
    eventually("there is room for another", another).await;
    let mut rest = String::new();
    let all = clients[0].read_to_string(&mut rest);
    timeout(TEST_TIMEOUT, all).await.expect("the export continues").unwrap();
    assert_eq!(rest.lines().filter(|line| line.starts_with('{')).count(), 150_000);
    assert!(rest.ends_with("\r\n0\r\n\r\n"), "it is complete");
}
