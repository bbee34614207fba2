//! The log as lines.

use std::time::Duration;

use futures::{StreamExt, stream};
use reqwest::Response;
use serde_json::Value;
use testing::{purchased, reset};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::{ReadSide, assert_problem, eventually};

/// As the service has it.
const MAX_EXPORTS: usize = 8;
/// Longer than any test takes to get what it waits for.
const PATIENCE: Duration = Duration::from_mins(1);

async fn request(read_side: &ReadSide, parameters: &str, accept: &str) -> Response {
    let url = format!("{}/api/events?{parameters}", read_side.query_api.url());
    read_side.client.get(url).header("accept", accept).send().await.unwrap()
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

/// Purchases with a reset among each thousand of them.
async fn append(read_side: &ReadSide, thousands: usize) {
    let mut batch = vec![purchased("pro", 19_900); 1000];
    batch[500] = reset();
    for _ in 0..thousands {
        read_side.databases.append(&batch).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_is_every_single_event_on_a_line_and_resumes_with_the_same_bytes() {
    let read_side = ReadSide::start().await;
    append(&read_side, 21).await;
    let all = export(&read_side, "").await;
    let url = format!("{}/api/events", read_side.query_api.url());
    let single_events: Vec<String> = stream::iter(1..=21_000)
        .map(async |position| {
            let event = read_side.client.get(format!("{url}/{position}")).send().await.unwrap();
            event.text().await.unwrap() + "\n"
        })
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
async fn lines_are_for_those_who_ask_for_them() {
    let read_side = ReadSide::start().await;
    append(&read_side, 1).await;
    for (accept, content_type) in [
        ("*/*", "application/json"),
        ("application/json", "application/json"),
        ("application/x-ndjson", "application/x-ndjson"),
        ("text/html, Application/X-NDJSON;q=0.9", "application/x-ndjson"),
        ("application/x-ndjson-not", "application/json"),
    ] {
        let response = request(&read_side, "limit=1", accept).await;
        assert_eq!(response.headers()["content-type"], content_type, "{accept}");
        assert_eq!(response.headers()["vary"], "accept", "{accept}");
    }
}

#[tokio::test]
async fn an_export_ends_where_the_log_ended_when_it_was_asked_for() {
    let read_side = ReadSide::start().await;
    append(&read_side, 30).await;
    let response = request(&read_side, "", "application/x-ndjson").await;
    append(&read_side, 3).await;
    assert_eq!(positions(&response.text().await.unwrap()), (1..=30_000).collect::<Vec<_>>());
}

#[tokio::test]
async fn an_export_that_meets_a_hole_is_cut_off_and_never_looks_complete() {
    let read_side = ReadSide::start().await;
    append(&read_side, 30).await;
    sqlx::raw_sql("alter table event disable trigger all; delete from event where position = 19990")
        .execute(read_side.databases.event_store())
        .await
        .unwrap();
    let response = request(&read_side, "", "application/x-ndjson").await;
    assert_eq!(response.status(), 200);
    assert!(response.bytes().await.is_err(), "the reader is told that something is missing");
    assert!(read_side.query_api.log().contains("position 19990 is missing"), "{}", read_side.query_api.log());
    let response = request(&read_side, "after=19000", "application/x-ndjson").await;
    assert_problem(response, 500, "internal").await;
}

/// A client that has asked for everything and reads nothing of it but the first bytes.
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

/// Whether nothing of the log is being read, for a while now, and no snapshot of it is held.
async fn nobody_reads(read_side: &ReadSide) -> bool {
    sqlx::query_scalar(
        "select coalesce(bool_and(state = 'idle' and backend_xid is null and backend_xmin is null
                                  and clock_timestamp() - state_change > interval '300 milliseconds'), true)
         from pg_stat_activity where datname = current_database() and application_name = 'query-api'",
    )
    .fetch_one(read_side.databases.event_store())
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_stop_reading_cost_neither_memory_nor_a_snapshot_and_others_are_served() {
    let read_side = ReadSide::start().await;
    append(&read_side, 150).await;
    let mut clients = Vec::new();
    for _ in 0..MAX_EXPORTS {
        clients.push(stalled(&read_side).await);
    }
    eventually("the exports wait for their readers", async || nobody_reads(&read_side).await).await;
    // All of them together would be some 350 megabytes.
    let held = memory(&read_side);
    assert!(held < 100, "{held} MB are held for clients that read nothing");

    let refused = request(&read_side, "", "application/x-ndjson").await;
    assert_eq!(refused.headers()["retry-after"], "1");
    assert_problem(refused, 503, "unavailable").await;
    for path in ["/api/events?after=149999", "/api/events/150000", "/api/get_current_money"] {
        assert_eq!(read_side.get(path).await.status(), 200, "{path}");
    }

    // One of them hangs up, which makes room for another; one goes on reading, and gets everything.
    clients.pop();
    let another = async || request(&read_side, "after=149000", "application/x-ndjson").await.status() == 200;
    eventually("there is room for another", another).await;
    let mut rest = String::new();
    let all = clients[0].read_to_string(&mut rest);
    timeout(PATIENCE, all).await.expect("the export goes on").unwrap();
    assert_eq!(rest.lines().filter(|line| line.starts_with('{')).count(), 150_000);
    assert!(rest.ends_with("\r\n0\r\n\r\n"), "it is complete");
}
