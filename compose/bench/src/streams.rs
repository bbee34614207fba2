//! Clients that are sent the totals as they change, all of one replica, while licences are bought as fast as it goes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use chrono::{DateTime, Utc};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::driver::Bench;
use crate::figures::{Figure, Unit, count, number, percentile};
use crate::load::Traffic;
use crate::row::{Row, Target};
use crate::settings::MOST_CONNECTIONS;
use crate::usage::{Usage, raise, resident_mb};

/// As many clients as a replica may have take no more than what it may take at full load.
const MEMORY_PER_CLIENT: Target = Target::AtMost(20_000.0);

/// Every so many clients one looks at how old the totals are when they arrive: looking costs CPU time, which all share.
const LOOKS: usize = 20;
const CONNECTS_WITHIN: Duration = Duration::from_secs(10);
/// A client that is told nothing for so long has been forgotten: every five seconds there is at least the age.
const SILENT_FOR: Duration = Duration::from_secs(30);
/// How long the last totals may take to reach every client, once all is projected.
const ARRIVES_WITHIN: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// How often memory is looked at.
const SAMPLE_EVERY: Duration = Duration::from_millis(200);

/// What the clients have seen together.
#[derive(Debug, Default)]
struct Seen {
    /// Events of totals.
    events: AtomicU64,
    /// From the time at which the newest counted event was recorded to its arrival, in milliseconds.
    ages: Mutex<Vec<f64>>,
}

/// Clients that read until dropped.
#[derive(Debug)]
struct Clients {
    tasks: JoinSet<Result<()>>,
    /// The position that each was told last.
    positions: Vec<Arc<AtomicI64>>,
    seen: Arc<Seen>,
}

pub fn measure(bench: &Bench) -> Result<Vec<Row>> {
    let query_api = bench.rig.addresses.query_api;
    let clients = bench.settings.stream_clients;
    let alone = Figure::new(Unit::PerSecond, vec![bench.most_purchases()?]);
    let memory =
        || Ok::<_, anyhow::Error>(resident_mb(&bench.rig.stack)?.get("query-api").copied().unwrap_or_default());
    let (before, mut most) = (memory()?, Usage::new());
    let mut watching = None;
    bench.progress.measure(&format!("{clients} clients connect"), || {
        watching = Some(bench.block_on(Clients::connect(query_api, clients))?);
        Ok(String::new())
    })?;
    let mut watching = watching.context("they have connected")?;
    let connected = memory()?;
    let load = bench.load(Traffic::Purchases, MOST_CONNECTIONS);
    let (mut delivered, mut ages) = (0.0, Vec::new());
    let mut purchases = 0.0;
    bench.progress.measure(
        &format!("purchases, {MOST_CONNECTIONS} connections, {clients} clients watching"),
        || {
            bench.block_on(watching.forget())?;
            let measured = bench.drive(bench.command_api(), load, |running| {
                while running.is_sending() {
                    raise(&mut most, resident_mb(&bench.rig.stack)?);
                    bench.interrupt.check()?;
                    thread::sleep(SAMPLE_EVERY);
                }
                (delivered, ages) = bench.block_on(watching.forget())?;
                Ok(())
            })?;
            purchases = measured.rate;
            Ok(format!("{measured}  {} events/s delivered", number(delivered / load.time.as_secs_f64())))
        },
    )?;
    let last = bench.block_on(bench.ledger.settle())?;
    bench.block_on(watching.all_have(last))?;
    let per_client = |megabytes: f64| (megabytes - before) * 1e6 / count(i64::try_from(clients).unwrap_or(i64::MAX));
    let figure = |unit, value| Figure::new(unit, vec![value]);
    let under_load = most.get("query-api").copied().unwrap_or_default();
    let named = |what: &str| format!("{what}, {clients} clients");
    Ok(vec![
        Row::new(named("memory per client of a stream, nothing happens"), figure(Unit::Bytes, per_client(connected))),
        Row::new(named("memory per client of a stream, full load"), figure(Unit::Bytes, per_client(under_load)))
            .target(MEMORY_PER_CLIENT),
        Row::new(named("totals delivered"), figure(Unit::PerSecond, delivered / load.time.as_secs_f64())),
        Row::new(named("recorded → delivered p50"), figure(Unit::Milliseconds, percentile(&ages, 500))),
        Row::new(named("recorded → delivered p99"), figure(Unit::Milliseconds, percentile(&ages, 990))),
        Row::new(named("purchases meanwhile"), figure(Unit::PerSecond, purchases)).beside("without clients", alone),
    ])
}

impl Clients {
    /// Each has its first totals when this returns.
    async fn connect(query_api: SocketAddr, count: usize) -> Result<Self> {
        let seen = Arc::new(Seen::default());
        let positions: Vec<_> = (0..count).map(|_| Arc::new(AtomicI64::new(-1))).collect();
        let mut tasks = JoinSet::new();
        for (number, position) in positions.iter().enumerate() {
            let stream = timeout(CONNECTS_WITHIN, TcpStream::connect(query_api)).await??;
            tasks.spawn(read(stream, Arc::clone(position), Arc::clone(&seen), number % LOOKS == 0));
        }
        let mut clients = Self { tasks, positions, seen };
        clients.all_have(0).await?;
        Ok(clients)
    }

    /// What was seen since the last time.
    async fn forget(&mut self) -> Result<(f64, Vec<f64>)> {
        let events = i64::try_from(self.seen.events.swap(0, Ordering::Relaxed))?;
        Ok((count(events), std::mem::take(&mut *self.seen.ages.lock().await)))
    }

    /// Waits until every client has been told of the position. Fails when one does not read any more.
    async fn all_have(&mut self, position: i64) -> Result<()> {
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
            ensure!(started.elapsed() < ARRIVES_WITHIN, "{missing} clients were not told of position {position}");
            sleep(LOOK_AGAIN).await;
        }
    }
}

/// A client, as small as it gets. Every event comes in lines of its own, between those that chunked transfer needs.
async fn read(stream: TcpStream, position: Arc<AtomicI64>, seen: Arc<Seen>, looks: bool) -> Result<()> {
    let mut stream = BufReader::with_capacity(1024, stream);
    stream.get_mut().write_all(b"GET /api/sales/stream HTTP/1.1\r\nhost: sales\r\n\r\n").await?;
    let mut line = String::new();
    loop {
        line.clear();
        let read = timeout(SILENT_FOR, stream.read_line(&mut line)).await.context("a client was forgotten")??;
        ensure!(read > 0, "a stream has ended");
        if let Some(id) = line.strip_prefix("id: ") {
            // Behind the generation of the read model.
            let (_, known) = id.trim_end().split_once('-').context("an id has two parts")?;
            position.store(known.parse()?, Ordering::Relaxed);
            seen.events.fetch_add(1, Ordering::Relaxed);
        } else if looks && let Some((_, as_of)) = line.split_once("\"as_of\":\"") {
            let as_of: DateTime<Utc> = as_of.split('"').next().unwrap_or_default().parse()?;
            seen.ages.lock().await.push((Utc::now() - as_of).as_seconds_f64() * 1000.0);
        }
    }
}
