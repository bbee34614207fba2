//! Clients that stream the totals from one replica, during purchases at the maximum rate.

use std::convert::Infallible;
use std::mem;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use chrono::{DateTime, Utc};
use stack::progress::Progress;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::{
    Figure, MOST_CONNECTIONS, Row, Target, TestBed, Traffic, Usage, count, percentile, record_memory, resident_mb,
};

/// With this, the maximum number of clients of a replica fits into its memory limit at full load.
const MEMORY_PER_CLIENT: Target = Target::AtMost(20_000.0);

/// One of so many clients records the age of the totals on arrival: parsing costs CPU time, which all share.
const RECORDS_AGE: usize = 20;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// For the last totals to reach every client, once all events are projected.
const ARRIVAL_TIMEOUT: Duration = Duration::from_secs(10);
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Clients that read until they are dropped.
#[derive(Debug)]
struct Clients {
    tasks: JoinSet<Result<Infallible>>,
    received: Arc<Received>,
}

#[derive(Debug)]
struct Received {
    /// The last position of each client.
    positions: Vec<AtomicI64>,
    /// By all clients together.
    totals: AtomicI64,
    /// Milliseconds from the recording of the newest included event to the arrival of the totals.
    ages: Mutex<Vec<f64>>,
}

pub fn measure(bed: &TestBed) -> Result<Vec<Row>> {
    let number = bed.options.stream_clients;
    let named = |what: &str| format!("{what}, {number} clients");
    let alone = Figure::new("1/s", vec![bed.most_purchases(bed.purchases[0])?]);
    let of_query_api = |usage: &Usage| usage.get("query-api").copied().unwrap_or_default();
    let before = of_query_api(&resident_mb(&bed.stack)?);
    let connect = || bed.block_on(Clients::connect(bed.query_api, number as usize));
    let mut clients = Progress::Shown.step(&named("connected"), connect)?;
    let connected = of_query_api(&resident_mb(&bed.stack)?);
    let load = bed.load(Traffic::Purchases, MOST_CONNECTIONS);
    let (mut most, mut received) = (Usage::new(), (0.0, Vec::new()));
    let measured = Progress::Shown.measure(&named(&format!("purchases, {MOST_CONNECTIONS} connections")), || {
        clients.received.take();
        bed.drive(bed.purchases[0], load, |running| {
            record_memory(bed, running, &mut most)?;
            received = clients.received.take();
            Ok(0)
        })
    })?;
    let last = bed.settle()?;
    bed.block_on(clients.have_all_received(last))?;
    let (delivered, ages) = received;
    let row = |what, unit, value| Row::new(named(what), Figure::new(unit, vec![value]));
    let memory_row = |what, megabytes: f64| row(what, "B", (megabytes - before) * 1e6 / f64::from(number));
    Ok(vec![
        memory_row("memory per client of a stream, nothing happens", connected),
        memory_row("memory per client of a stream, full load", of_query_api(&most)).target(MEMORY_PER_CLIENT),
        row("totals delivered", "1/s", delivered / load.time.as_secs_f64()),
        row("recorded → delivered p50", "ms", percentile(&ages, 500)),
        row("recorded → delivered p99", "ms", percentile(&ages, 990)),
        row("purchases meanwhile", "1/s", measured.rate).relative_to("without clients", &alone),
    ])
}

impl Clients {
    /// Returns once each client has received its first totals.
    async fn connect(query_api: SocketAddr, number: usize) -> Result<Self> {
        let positions = (0..number).map(|_| AtomicI64::new(-1)).collect();
        let received = Arc::new(Received { positions, totals: AtomicI64::default(), ages: Mutex::default() });
        let mut clients = Self { tasks: JoinSet::new(), received };
        for index in 0..number {
            let stream = timeout(CONNECT_TIMEOUT, TcpStream::connect(query_api)).await??;
            clients.tasks.spawn(read(stream, index, Arc::clone(&clients.received)));
        }
        clients.have_all_received(0).await?;
        Ok(clients)
    }

    /// Waits until every client has received the position. Fails if a client has stopped.
    async fn have_all_received(&mut self, position: i64) -> Result<()> {
        let started = Instant::now();
        loop {
            if let Some(Err(error)) = self.tasks.try_join_next().transpose()? {
                return Err(error);
            }
            let missing = self.received.positions.iter().filter(|known| known.load(Relaxed) < position).count();
            if missing == 0 {
                return Ok(());
            }
            ensure!(started.elapsed() < ARRIVAL_TIMEOUT, "{missing} clients have not received position {position}");
            sleep(POLL_INTERVAL).await;
        }
    }
}

impl Received {
    /// The number of totals and their ages since the last call.
    fn take(&self) -> (f64, Vec<f64>) {
        let mut ages = self.ages.lock().unwrap_or_else(PoisonError::into_inner);
        (count(self.totals.swap(0, Relaxed)), mem::take(&mut *ages))
    }
}

/// A minimal client. Each event has lines of its own, between those of the chunked encoding.
async fn read(stream: TcpStream, index: usize, received: Arc<Received>) -> Result<Infallible> {
    let mut stream = BufReader::with_capacity(1024, stream);
    stream.get_mut().write_all(b"GET /api/sales/stream HTTP/1.1\r\nhost: sales\r\n\r\n").await?;
    let mut line = String::new();
    loop {
        line.clear();
        ensure!(stream.read_line(&mut line).await? > 0, "a stream has ended");
        if let Some(id) = line.strip_prefix("id: ") {
            // <generation of the read model>-<position>
            let (_, known) = id.trim_end().split_once('-').context("an id has two parts")?;
            received.positions[index].store(known.parse()?, Relaxed);
            received.totals.fetch_add(1, Relaxed);
        } else if index.is_multiple_of(RECORDS_AGE)
            && let Some((_, as_of)) = line.split_once("\"as_of\":\"")
        {
            let as_of: DateTime<Utc> = as_of.split('"').next().unwrap_or_default().parse()?;
            let age = (Utc::now() - as_of).as_seconds_f64() * 1000.0;
            received.ages.lock().unwrap_or_else(PoisonError::into_inner).push(age);
        }
    }
}
