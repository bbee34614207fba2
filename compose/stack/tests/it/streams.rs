//! The totals as they change, through the proxy.

use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use reqwest::{Method, Response};
use tokio::time::timeout;

use crate::running::{Running, until};

/// Much more than an event takes once it is there, and less than the next one that comes by itself.
const AT_ONCE: Duration = Duration::from_secs(3);

async fn open(system: &Running) -> Response {
    let request = system.request(Method::GET, "/api/sales/stream").timeout(Duration::from_mins(2));
    let response = request.header("accept", "text/event-stream").send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    response
}

/// How the id of the totals of a position ends, whatever the generation of the read model is.
fn marker(position: i64) -> String {
    format!("-{position}\ndata: ")
}

/// Reads until the totals of a position have come.
async fn read_until(response: &mut Response, position: i64) {
    let (marker, mut text) = (marker(position), String::new());
    while !text.contains(&marker) {
        let chunk = timeout(AT_ONCE, response.chunk()).await.expect("the proxy passes it on at once").unwrap();
        text += std::str::from_utf8(&chunk.expect("the stream goes on")).unwrap();
    }
}

/// How many streams a replica has, as it says itself.
async fn streams_of(system: &Running, replica: &str) -> usize {
    let address = system.status().processes.into_iter().find(|process| process.name == replica).expect(replica).address;
    let metrics = system.http.get(format!("http://{address}/metrics")).send().await.unwrap().text().await.unwrap();
    let streams = metrics.lines().find_map(|line| line.strip_prefix("sales_totals_streams ")).expect("it counts them");
    streams.parse().unwrap()
}

#[tokio::test]
async fn events_come_through_the_proxy_at_once_and_a_lost_stream_is_opened_again_elsewhere() {
    let system = Running::up(&["--replicas=query-api=2"]);
    // The proxy shares requests out in turns, unless it takes one of the two replicas for dead at that moment.
    let (mut streams, mut of_killed) = (Vec::new(), 0);
    until("both replicas have a stream", async || {
        streams.push(open(&system).await);
        of_killed = streams_of(&system, "query-api-2").await;
        (1..streams.len()).contains(&of_killed)
    })
    .await;
    let mut last = 0;
    for _ in 0..5 {
        last = system.buy("pro").await;
        // How long counting takes is not what is measured.
        let path = format!("/api/get_current_money?min_position={last}");
        let counted = async || system.request(Method::GET, &path).send().await.unwrap().status() == 200;
        until("it is counted", counted).await;
        for stream in &mut streams {
            read_until(stream, last).await;
        }
    }
    let killed = Pid::from_raw(system.pid("query-api-2"));
    kill(killed, Signal::SIGKILL).unwrap();
    let (started, opened) = (Instant::now(), streams.len());
    let mut cut_off = 0;
    for mut stream in streams {
        last = system.buy("pro").await;
        // Cut off, and not begun again behind the client's back.
        let marker = marker(last);
        let mut text = String::new();
        loop {
            let chunk = timeout(Duration::from_secs(20), stream.chunk()).await.expect("it goes on or ends");
            let Ok(Some(chunk)) = chunk else {
                cut_off += 1;
                break;
            };
            text += std::str::from_utf8(&chunk).unwrap();
            if text.contains(&marker) {
                break;
            }
        }
        assert!(!text.contains("retry:"), "{text}");
    }
    assert_eq!(cut_off, of_killed, "of {opened} streams, as many as it had within {:?}", started.elapsed());
    // The same replica, back again, says 503 until it has read the totals.
    let mut again = None;
    until("another replica, or the same one again, streams", async || {
        let response = system.request(Method::GET, "/api/sales/stream").send().await.unwrap();
        let streams = response.status() == 200;
        again = streams.then_some(response);
        streams
    })
    .await;
    read_until(&mut again.expect("it streams"), last).await;
}
