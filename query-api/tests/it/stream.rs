//! The totals as they change.

use std::time::{Duration, Instant};

use rand::{RngExt, SeedableRng, rngs::StdRng};
use reqwest::{Method, Response, header::HeaderValue};
use serde_json::Value;
use socket2::{Domain, Socket, Type};
use testing::{Databases, Proxy, Until, assert_problem, eventually, purchased, reset};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::ReadSide;

/// An event as a browser parses it.
#[derive(Debug, Default, PartialEq)]
struct Event {
    name: String,
    id: Option<String>,
    data: Value,
}

impl Event {
    /// The id consists of generation and position.
    fn position(&self) -> Option<i64> {
        self.id.as_ref().map(|id| id.split_once('-').unwrap().1.parse().unwrap())
    }
}

/// A client of the stream.
struct Events {
    response: Response,
    text: String,
}

impl Events {
    async fn open(read_side: &ReadSide, last_event_id: Option<&str>) -> Self {
        let request = read_side.request("/api/sales/stream");
        let request = last_event_id.into_iter().fold(request, |request, id| request.header("last-event-id", id));
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200);
        Self { response, text: String::new() }
    }

    /// The next event; `None` at the end of the stream.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let event = parse(block);
                let rest = rest.to_owned();
                self.text = rest;
                if event == Event::default() {
                    continue;
                }
                return Some(event);
            }
            let chunk = timeout(Duration::from_secs(20), self.response.chunk()).await.expect("an event arrives");
            self.text += std::str::from_utf8(&chunk.unwrap()?).unwrap();
        }
    }

    /// The next totals.
    async fn totals(&mut self) -> Event {
        loop {
            let event = self.next().await.expect("the stream continues");
            if event.name == "totals" {
                return event;
            }
        }
    }

    /// Reads until the totals of a position arrive. Returns their data.
    async fn until(&mut self, position: i64) -> Value {
        loop {
            let event = self.totals().await;
            if event.position() == Some(position) {
                return event.data;
            }
        }
    }
}

fn parse(block: &str) -> Event {
    let mut event = Event::default();
    for line in block.lines() {
        match line.split_once(": ").unwrap() {
            ("event", name) => name.clone_into(&mut event.name),
            ("id", id) => event.id = Some(id.to_owned()),
            ("data", data) => event.data = serde_json::from_str(data).unwrap(),
            ("retry", milliseconds) => assert_eq!(milliseconds, "1000"),
            other => panic!("{other:?}"),
        }
    }
    event
}

#[tokio::test]
async fn the_totals_are_sent_immediately_and_after_each_change() {
    let read_side = ReadSide::start().await;
    let mut events = Events::open(&read_side, None).await;
    let headers = events.response.headers();
    for (name, value) in
        [("content-type", "text/event-stream"), ("cache-control", "no-store"), ("x-accel-buffering", "no")]
    {
        assert_eq!(headers[name], value);
    }
    assert_eq!(events.totals().await.position(), Some(0));
    let age = events.next().await.unwrap();
    assert_eq!((age.name.as_str(), &age.id), ("age", &None));
    assert!(age.data["age_ms"].as_u64().is_some_and(|age| age < 10_000), "{}", age.data);
    for events_of_the_log in [vec![purchased("pro", 19_900)], vec![purchased("basic", 1); 3], vec![reset()]] {
        let position = read_side.databases.append(&events_of_the_log).await;
        let data = events.until(position).await;
        assert_eq!(data, read_side.json("/api/get_current_money").await);
    }
    // Without a change, only the age is sent.
    assert_eq!(events.next().await.unwrap().name, "age");
}

#[tokio::test]
async fn a_client_that_reconnects_is_not_sent_totals_that_it_has() {
    let read_side = ReadSide::start().await;
    read_side.databases.append(&[purchased("pro", 1)]).await;
    read_side.settled().await;
    let known = Events::open(&read_side, None).await.totals().await.id.unwrap();
    let mut events = Events::open(&read_side, Some(&known)).await;
    assert_eq!(events.next().await.unwrap().name, "age");
    read_side.databases.append(&[purchased("pro", 1)]).await;
    assert_eq!(events.totals().await.position(), Some(2));
    // An older one, the position alone, one from another log, and none at all.
    for id in [&known, "2", "1-17", "yesterday", ""] {
        assert_eq!(Events::open(&read_side, Some(id)).await.totals().await.position(), Some(2), "{id:?}");
    }
}

#[tokio::test]
async fn a_client_that_reconnects_after_a_rebuild_is_sent_the_corrected_totals() {
    let read_side = ReadSide::start().await;
    read_side.databases.append(&[purchased("pro", 19_900)]).await;
    read_side.settled().await;
    let served = async |count: i64| {
        let current = async || read_side.json("/api/get_current_money").await["sales_count"].clone();
        eventually("the totals are served", async || current().await == count).await;
    };
    read_side.databases.change_read_model("update license_total set sales_count = 7 where license = 'pro'").await;
    served(7).await;
    let wrong = Events::open(&read_side, None).await.totals().await;
    read_side.databases.rebuild().await;
    served(1).await;
    // At the same position.
    let right = Events::open(&read_side, wrong.id.as_deref()).await.totals().await;
    assert_eq!((wrong.position(), &wrong.data["sales_count"]), (Some(1), &Value::from(7)));
    assert_eq!((right.position(), &right.data["sales_count"]), (Some(1), &Value::from(1)));
}

#[tokio::test]
async fn a_client_is_sent_at_most_ten_totals_a_second_and_always_the_last() {
    const CHANGES: i64 = 300;
    let read_side = ReadSide::start().await;
    let mut events = Events::open(&read_side, None).await;
    events.totals().await;
    let started = Instant::now();
    let appending = async {
        for _ in 0..CHANGES {
            read_side.databases.append(&[purchased("pro", 1)]).await;
        }
    };
    let (mut received, mut position) = (0, None);
    let receiving = async {
        loop {
            position = events.totals().await.position();
            received += 1;
        }
    };
    tokio::select! {
        () = appending => {}
        () = receiving => unreachable!(),
    }
    let at_most = started.elapsed().as_secs_f64() * 10.0 + 1.0;
    assert!(f64::from(received) <= at_most, "{received} of {CHANGES} changes, at most {at_most} in that time");
    if position != Some(CHANGES) {
        events.until(CHANGES).await;
    }
}

#[tokio::test]
async fn a_slow_reader_is_sent_the_newest_totals_and_not_those_that_it_missed() {
    let read_side = ReadSide::start().await;
    // It reads some kilobytes, and then nothing for a while.
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(1024).unwrap();
    socket.connect(&read_side.query_api.address().into()).unwrap();
    socket.set_nonblocking(true).unwrap();
    let mut slow = TcpStream::from_std(socket.into()).unwrap();
    slow.write_all(b"GET /api/sales/stream HTTP/1.1\r\nhost: sales\r\n\r\n").await.unwrap();
    let mut fast = Events::open(&read_side, None).await;
    // More events than all buffers along the way can hold.
    let mut last = 0;
    for _ in 0..150 {
        last = read_side.databases.append(&[purchased("pro", 1)]).await;
        fast.until(last).await;
    }
    let marker = format!("-{last}\ndata: ");
    let mut received = String::new();
    let mut buffer = [0; 4096];
    while !received.contains(&marker) {
        let count = timeout(Duration::from_secs(20), slow.read(&mut buffer)).await.expect("data arrives").unwrap();
        assert_ne!(count, 0, "the stream continues");
        received += std::str::from_utf8(&buffer[..count]).unwrap();
    }
    let received = received.matches("event: totals").count();
    assert!(received < 100, "{received} of 150 were queued for it");
}

#[tokio::test]
async fn a_place_is_released_when_its_client_disconnects() {
    let read_side = ReadSide::start().await;
    let open = async || read_side.query_api.metric("sales_totals_streams").await;
    let mut clients = Vec::new();
    for _ in 0..20 {
        clients.push(Events::open(&read_side, None).await);
    }
    assert!((open().await - 20.0).abs() < 0.5);
    drop(clients);
    eventually("all places are free", async || open().await < 0.5).await;
}

/// The fuzz test leaves out endless responses.
#[tokio::test]
async fn an_unknown_last_event_id_is_answered_with_the_totals() {
    const SEED: u64 = 20_261_125;
    let read_side = ReadSide::start().await;
    let mut random = StdRng::seed_from_u64(SEED);
    let strange = ["", "-1", "1", "1e3", "0x1", "9223372036854775807", "9223372036854775808", "null", "🙂"];
    let strange = strange.map(|text| text.as_bytes().to_vec());
    let made_up: Vec<Vec<u8>> = (0..500)
        .map(|_| {
            let length = random.random_range(0..60);
            (0..length).map(|_| random.random_range(b' '..=u8::MAX)).filter(|byte| *byte != b'\x7f').collect()
        })
        .collect();
    for known in strange.into_iter().chain(made_up) {
        let header = HeaderValue::from_bytes(&known).unwrap();
        let response = read_side.request("/api/sales/stream").header("last-event-id", header).send().await.unwrap();
        assert_eq!(response.status(), 200, "{known:?}");
        let first = Events { response, text: String::new() }.next().await.unwrap();
        assert_eq!((first.name.as_str(), first.position()), ("totals", Some(0)), "{known:?}");
    }
    for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
        let request = read_side.query_api.request(method, "/api/sales/stream");
        assert_problem(request.send().await.unwrap(), 405, "method-not-allowed").await;
    }
}

#[tokio::test]
async fn a_shutdown_ends_all_streams_immediately() {
    let mut read_side = ReadSide::start().await;
    let mut clients = Vec::new();
    for _ in 0..20 {
        clients.push(Events::open(&read_side, None).await);
    }
    let another = read_side.databases.query_api().await;
    let stopping = std::mem::replace(&mut read_side.query_api, another);
    assert!(stopping.terminate().await.success());
    for mut client in clients {
        // A stream without a proper HTTP end makes this panic.
        while client.next().await.is_some() {}
    }
}

#[tokio::test]
async fn before_the_first_read_streams_are_answered_503() {
    let databases = Databases::create().await;
    let proxy = Proxy::start(testing::postgres().address()).await;
    let read_model = databases.read_model_url_via("query_api", proxy.address());
    drop(proxy);
    let query_api = databases.start("query-api", Until::Live, &[("READ_MODEL_URL", &read_model)]).await;
    let response = query_api.get("/api/sales/stream").await;
    assert_eq!(response.headers()["retry-after"], "1");
    assert_problem(response, 503, "unavailable").await;
}

#[tokio::test]
async fn while_the_read_model_is_unreachable_the_age_grows() {
    let databases = Databases::create().await;
    let proxy = Proxy::start(testing::postgres().address()).await;
    let read_model = databases.read_model_url_via("query_api", proxy.address());
    let read_side = ReadSide::start_with(databases, &[("READ_MODEL_URL", &read_model)]).await;
    let mut events = Events::open(&read_side, None).await;
    events.totals().await;
    drop(proxy);
    let mut age = 0;
    while age < 5000 {
        let event = events.next().await.unwrap();
        assert_eq!(event.name, "age");
        age = event.data["age_ms"].as_u64().unwrap();
    }
}
