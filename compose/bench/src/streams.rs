//! Clients that stream the totals from one replica, during purchases at the maximum rate.

use std::mem;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use chrono::{DateTime, Utc};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::figures::{Figure, Unit, count, percentile};
use crate::footprint::SAMPLE_INTERVAL;
use crate::load::Traffic;
use crate::row::{Row, Target};
use crate::settings::MOST_CONNECTIONS;
use crate::test_bed::TestBed;
use crate::usage::{Usage, record_memory, resident_mb};
use stack::progress::Progress;

/// With this, the maximum number of clients of a replica fits into its memory limit at full load.
const MEMORY_PER_CLIENT: Target = Target::AtMost(20_000.0);

/// One of so many clients records the age of the totals on arrival: parsing costs CPU time, which all share.
const RECORDS_AGE: usize = 20;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The service sends something every five seconds.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(30);
/// For the last totals to reach every client, once all events are projected.
const ARRIVAL_TIMEOUT: Duration = Duration::from_secs(10);
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Received by all clients together.
#[derive(Debug, Default)]
struct Received {
    totals: AtomicU64,
    /// Milliseconds from the recording of the newest included event to the arrival of the totals.
    ages: Mutex<Vec<f64>>,
}

/// Clients that read until they are dropped.
#[derive(Debug)]
struct Clients {
    tasks: JoinSet<Result<()>>,
    /// The last position that each has received.
    positions: Vec<Arc<AtomicI64>>,
    received: Arc<Received>,
}

pub fn measure(bed: &TestBed) -> Result<Vec<Row>> {
    let number = bed.settings.stream_clients;
    let named = |what: &str| format!("{what}, {number} clients");
    let alone = Figure::single(Unit::PerSecond, bed.most_purchases()?);
    let of_query_api = |usage: &Usage| usage.get("query-api").copied().unwrap_or_default();
    let before = of_query_api(&resident_mb(&bed.stack)?);
    let mut clients =
        Progress::Shown.step(&named("connected"), || bed.block_on(Clients::connect(bed.query_api, number)))?;
    let connected = of_query_api(&resident_mb(&bed.stack)?);
    let load = bed.load(Traffic::Purchases, MOST_CONNECTIONS);
    let (mut most, mut received) = (Usage::new(), (0.0, Vec::new()));
    let measured = Progress::Shown.measure(&named(&format!("purchases, {MOST_CONNECTIONS} connections")), || {
        clients.take_received()?;
        bed.drive(bed.purchases[0], load, |running| {
            running.while_sending(SAMPLE_INTERVAL, || record_memory(&bed.stack, &mut most))?;
            received = clients.take_received()?;
            Ok(())
        })
    })?;
    let last = bed.settle()?;
    bed.block_on(clients.have_all_received(last))?;
    let (delivered, ages) = received;
    let row = |what, unit, value| Row::new(named(what), Figure::single(unit, value));
    let memory_row = |what, megabytes: f64| {
        row(what, Unit::Bytes, (megabytes - before) * 1e6 / count(i64::try_from(number).unwrap_or(i64::MAX)))
    };
    Ok(vec![
        memory_row("memory per client of a stream, nothing happens", connected),
        memory_row("memory per client of a stream, full load", of_query_api(&most)).target(MEMORY_PER_CLIENT),
        row("totals delivered", Unit::PerSecond, delivered / load.time.as_secs_f64()),
        row("recorded → delivered p50", Unit::Milliseconds, percentile(&ages, 500)),
        row("recorded → delivered p99", Unit::Milliseconds, percentile(&ages, 990)),
        row("purchases meanwhile", Unit::PerSecond, measured.rate).relative_to("without clients", alone),
    ])
}

impl Clients {
    /// Returns once each client has received its first totals.
    async fn connect(query_api: SocketAddr, number: usize) -> Result<Self> {
        let mut clients = Self { tasks: JoinSet::new(), positions: Vec::new(), received: Arc::default() };
        for index in 0..number {
            let stream = timeout(CONNECT_TIMEOUT, TcpStream::connect(query_api)).await??;
            let position = Arc::new(AtomicI64::new(-1));
            clients.positions.push(Arc::clone(&position));
            clients.tasks.spawn(read(stream, position, Arc::clone(&clients.received), index % RECORDS_AGE == 0));
        }
        clients.have_all_received(0).await?;
        Ok(clients)
    }

    /// The number of totals and their ages since the last call.
    fn take_received(&self) -> Result<(f64, Vec<f64>)> {
        let totals = i64::try_from(self.received.totals.swap(0, Ordering::Relaxed))?;
        let mut ages = self.received.ages.lock().unwrap_or_else(PoisonError::into_inner);
        Ok((count(totals), mem::take(&mut *ages)))
    }

    /// Waits until every client has received the position. Fails if a client has stopped.
    async fn have_all_received(&mut self, position: i64) -> Result<()> {
        let started = Instant::now();
        loop {
            if let Some(ended) = self.tasks.try_join_next() {
                ended??;
                bail!("a stream has ended");
            }
            let missing = self.positions.iter().filter(|known| known.load(Ordering::Relaxed) < position).count();
            if missing == 0 {
                return Ok(());
            }
            ensure!(started.elapsed() < ARRIVAL_TIMEOUT, "{missing} clients have not received position {position}");
            sleep(POLL_INTERVAL).await;
        }
    }
}

/// A minimal client. Each event has lines of its own, between those of the chunked encoding.
async fn read(stream: TcpStream, position: Arc<AtomicI64>, received: Arc<Received>, records_age: bool) -> Result<()> {
    let mut stream = BufReader::with_capacity(1024, stream);
    stream.get_mut().write_all(b"GET /api/sales/stream HTTP/1.1\r\nhost: sales\r\n\r\n").await?;
    let mut line = String::new();
    loop {
        line.clear();
        let read = timeout(SILENCE_TIMEOUT, stream.read_line(&mut line)).await.context("a stream is silent")??;
        ensure!(read > 0, "a stream has ended");
        if let Some(id) = line.strip_prefix("id: ") {
            // <generation of the read model>-<position>
            let (_, known) = id.trim_end().split_once('-').context("an id has two parts")?;
            position.store(known.parse()?, Ordering::Relaxed);
            received.totals.fetch_add(1, Ordering::Relaxed);
        } else if records_age && let Some((_, as_of)) = line.split_once("\"as_of\":\"") {
            let as_of: DateTime<Utc> = as_of.split('"').next().unwrap_or_default().parse()?;
            let age = (Utc::now() - as_of).as_seconds_f64() * 1000.0;
            received.ages.lock().unwrap_or_else(PoisonError::into_inner).push(age);
        }
    }
}
