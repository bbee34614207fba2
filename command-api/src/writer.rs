//! Group commit: one task appends all pending commands in one statement.
//!
//! There is no timer. While one batch is committed, the next one accumulates: batches grow with the load, and an idle
//! system adds no latency. The task outlives every request, so a client that disconnects cancels nothing.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use chrono::{DateTime, Utc};
use contract::recorded_event::NewEvent;
use prometheus_client::{
    metrics::{counter::Counter, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};
use runtime::{
    backoff::Backoff,
    fail_points::fail_point,
    run_loop::Reported,
    traces::{SpanKind, Step},
};
use sqlx::{ConnectOptions, PgConnection, postgres::PgConnectOptions};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    handoff::HandoffBuffer,
    store::{self, Appended, Recorded},
};

/// Bound of the queue. At the slowest commit measured, a full queue drains in well under a second.
pub const QUEUE_CAPACITY: usize = 4096;
/// Events per statement. A larger batch does not reduce the cost per event any further.
pub const MAX_BATCH: usize = 1024;
/// Timeout of a statement and of a connection attempt. Beyond it the network is broken rather than the server busy.
const DATABASE_TIMEOUT: Duration = Duration::from_secs(3);
/// How long Postgres keeps the transaction of a writer that fell silent, and with it the lock of the log. Longer than
/// `DATABASE_TIMEOUT`, after which the writer has given it up; before the retries end, so that none of its commands fails.
const TRANSACTION_TIMEOUT: &str = "5s";
/// How long a failed batch is retried before its commands are answered with 503. Covers a restart of the database, and
/// ends before the request timeout.
const RETRY_DEADLINE: Duration = Duration::from_secs(4);

/// Why a command was not acknowledged.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    #[error("the queue of commands is full")]
    QueueFull,
    #[error("the event store is unreachable")]
    Unavailable,
    #[error("the event store did not respond; the event may or may not be stored")]
    OutcomeUnknown,
    #[error("the event store has an event with this Idempotency-Key outside of the log")]
    OutsideOfLog,
}

struct Pending {
    new: NewEvent,
    reply: oneshot::Sender<Result<Recorded, AppendError>>,
}

/// Hands commands to the writer.
#[derive(Clone)]
pub struct WriterHandle(Arc<Inner>);

/// Shared as a whole: separate reference counts would be contended by all requests.
struct Inner {
    queue: mpsc::Sender<Pending>,
    store: Arc<StoreState>,
    queue_depth: Gauge,
}

/// State of the event store. Initially neither flag is set: commands wait for the first connection.
#[derive(Default)]
struct StoreState {
    /// The last statement succeeded.
    available: AtomicBool,
    /// It has failed for longer than the retry deadline: commands are rejected at once.
    down: AtomicBool,
}

impl StoreState {
    fn set_available(&self, available: bool) {
        self.available.store(available, Ordering::Relaxed);
        self.down.store(!available, Ordering::Relaxed);
    }
}

impl WriterHandle {
    /// Returns once the event is committed. Fails at once when the queue is full or the event store is down.
    pub async fn append(&self, new: NewEvent) -> Result<Recorded, AppendError> {
        let Inner { queue, store, queue_depth } = &*self.0;
        if store.down.load(Ordering::Relaxed) {
            return Err(AppendError::Unavailable);
        }
        let (reply, answer) = oneshot::channel();
        queue.try_send(Pending { new, reply }).map_err(|_| AppendError::QueueFull)?;
        queue_depth.set(depth(QUEUE_CAPACITY - queue.capacity()));
        answer.await.unwrap_or(Err(AppendError::OutcomeUnknown))
    }

    /// Whether the last statement succeeded.
    pub fn is_available(&self) -> bool {
        self.0.store.available.load(Ordering::Relaxed)
    }
}

/// Metrics of the writer.
#[derive(Clone)]
pub struct Metrics {
    appended: Counter,
    queue_depth: Gauge,
    batch_size: Histogram,
    append_duration: Histogram,
    clock_refused: Gauge,
    clock_ahead: Gauge<f64, AtomicU64>,
}

impl Metrics {
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            appended: Counter::default(),
            queue_depth: Gauge::default(),
            batch_size: Histogram::new([1.0, 4.0, 16.0, 64.0, 256.0, 1024.0]),
            append_duration: Histogram::new([0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5]),
            clock_refused: Gauge::default(),
            clock_ahead: Gauge::default(),
        };
        registry.register("commands_committed", "Commands answered from a commit", metrics.appended.clone());
        registry.register("append_queue_depth", "Commands waiting for the writer", metrics.queue_depth.clone());
        registry.register("append_batch_size", "Events per statement", metrics.batch_size.clone());
        let help = "Time of one append statement, commit included";
        registry.register_with_unit("append_duration", help, Unit::Seconds, metrics.append_duration.clone());
        let help = "1 while the event store refuses events because its clock is ahead";
        registry.register("append_clock_refused", help, metrics.clock_refused.clone());
        let help = "How far the time of the last appended event is ahead of the clock of this service";
        registry.register_with_unit("append_clock_ahead", help, Unit::Seconds, metrics.clock_ahead.clone());
        metrics
    }
}

/// The task that serves a [`WriterHandle`].
pub struct Writer {
    options: PgConnectOptions,
    queue: mpsc::Receiver<Pending>,
    store: Arc<StoreState>,
    handoff: Arc<HandoffBuffer>,
    metrics: Metrics,
}

/// The writer and its handle. Committed events go to `handoff`.
pub fn new(options: PgConnectOptions, handoff: Arc<HandoffBuffer>, metrics: Metrics) -> (WriterHandle, Writer) {
    let options = options.options([("transaction_timeout", TRANSACTION_TIMEOUT)]);
    let (sender, queue) = mpsc::channel(QUEUE_CAPACITY);
    let store = Arc::new(StoreState::default());
    let inner = Inner { queue: sender, store: Arc::clone(&store), queue_depth: metrics.queue_depth.clone() };
    (WriterHandle(Arc::new(inner)), Writer { options, queue, store, handoff, metrics })
}

impl Writer {
    /// Appends until the stop token is cancelled, then drains the queue.
    pub async fn run(mut self, stop: CancellationToken) -> anyhow::Result<()> {
        let mut connection = None;
        let mut batch = Vec::with_capacity(MAX_BATCH);
        let mut outage = Outage::default();
        let mut backoff = Backoff::default();
        loop {
            match self.advance(&mut connection, &mut batch, &mut outage, &stop).await {
                Ok(true) => backoff.reset(),
                Ok(false) => return Ok(()),
                Err(error) => {
                    // The outcome of the statement is unknown. The batch is kept: appending it again is safe.
                    connection = None;
                    self.report(&mut outage, &error);
                    let since = *outage.since.get_or_insert_with(Instant::now);
                    if since.elapsed() > RETRY_DEADLINE || self.store.down.load(Ordering::Relaxed) {
                        self.fail_pending(&mut batch);
                    }
                    if stop.is_cancelled() {
                        self.fail_pending(&mut batch);
                        return Ok(());
                    }
                    stop.run_until_cancelled(backoff.wait()).await;
                }
            }
        }
    }

    /// Logs each cause once. The refusal because of a clock stays reported while the event store is unreachable.
    fn report(&self, outage: &mut Outage, error: &sqlx::Error) {
        let is_news = if store::is_wrong_clock(error) {
            self.metrics.clock_refused.set(1);
            outage.reported.failed("a wrong clock") // the message has times, which always differ
        } else {
            outage.reported.failed(error)
        };
        if is_news {
            warn!(event.name = "append.failed", %error, "Append failed; retrying");
        }
    }

    /// Also reads how far the log is ahead: otherwise that would not be known before the next purchase.
    async fn connect(&self) -> sqlx::Result<PgConnection> {
        let connect = async {
            let mut connection = self.options.connect().await?;
            self.metrics.clock_ahead.set(seconds_ahead(store::last_recorded_at(&mut connection).await?));
            Ok(connection)
        };
        timeout(DATABASE_TIMEOUT, connect).await.map_err(|_| timed_out())?
    }

    /// Connects if necessary, waits for commands, appends them. False after the queue has closed.
    async fn advance(
        &mut self,
        connection: &mut Option<PgConnection>,
        batch: &mut Vec<Pending>,
        outage: &mut Outage,
        stop: &CancellationToken,
    ) -> sqlx::Result<bool> {
        let connected = match connection {
            Some(connected) => connected,
            None => connection.insert(self.connect().await?),
        };
        if batch.is_empty() {
            // The failed batch has been answered: reset the retry deadline. A successful connect does not prove that writes work:
            // append an empty batch before reporting ready.
            if outage.since.is_some() {
                append(connected, &[]).await?;
                self.metrics.clock_refused.set(0);
                *outage = Outage::default();
                info!(event.name = "append.recovered", "Appends succeed again");
            }
            self.store.set_available(true);
            if !self.collect_batch(batch, stop).await {
                return Ok(false);
            }
        }
        let started = Instant::now();
        let appending = Step::begin();
        fail_point("append");
        let appended = append(connected, batch).await?;
        fail_point("appended");
        self.metrics.clock_refused.set(0);
        self.metrics.append_duration.observe(started.elapsed().as_secs_f64());
        self.metrics.batch_size.observe(f64::from(u32::try_from(batch.len()).unwrap_or(u32::MAX)));
        self.metrics.appended.inc_by(batch.len() as u64);
        self.answer(batch, appended, appending);
        Ok(true)
    }

    /// Answers the commands of the batch and hands the events to the relay. A client that disconnected gets no answer; its
    /// purchase stands, and its key finds the receipt.
    fn answer(&self, batch: &mut Vec<Pending>, appended: Appended, appending: Step) {
        match appended {
            Appended::AllNew { first, recorded_at } => {
                self.metrics.clock_ahead.set(seconds_ahead(recorded_at));
                let mut events = Vec::with_capacity(batch.len());
                let mut position = first;
                for Pending { new, reply } in batch.drain(..) {
                    let _ = reply.send(Ok(Recorded { position, recorded_at, event: Ok(new.event.clone()) }));
                    events.push(new.recorded(position, recorded_at));
                    position = position.next();
                }
                appending.done("append", &SpanKind::Internal, &events);
                self.handoff.add(events);
            }
            Appended::SomeKnown(recorded) => {
                for (pending, recorded) in batch.drain(..).zip(recorded) {
                    let _ = pending.reply.send(recorded.ok_or(AppendError::OutsideOfLog));
                }
                self.handoff.add(Vec::new());
            }
        }
    }

    /// Takes all pending commands, up to a full batch. False once the stop token is cancelled and the queue is empty.
    async fn collect_batch(&mut self, batch: &mut Vec<Pending>, stop: &CancellationToken) -> bool {
        let taken = tokio::select! {
            biased;
            taken = self.queue.recv_many(batch, MAX_BATCH) => taken,
            () = stop.cancelled() => {
                self.queue.close();
                self.queue.recv_many(batch, MAX_BATCH).await
            }
        };
        self.drain_ready(batch).await;
        self.metrics.queue_depth.set(depth(self.queue.len()));
        taken > 0
    }

    /// The answers to the last batch trigger the next requests of the same clients, and the first of these should not be
    /// committed alone. Yields as long as that adds commands; on an idle system this is one yield, some microseconds.
    async fn drain_ready(&mut self, batch: &mut Vec<Pending>) {
        loop {
            tokio::task::yield_now().await;
            let before = batch.len();
            while batch.len() < MAX_BATCH
                && let Ok(pending) = self.queue.try_recv()
            {
                batch.push(pending);
            }
            if batch.len() == before {
                return;
            }
        }
    }

    /// Fails all pending commands. Further ones fail at once until the event store is available again.
    fn fail_pending(&mut self, batch: &mut Vec<Pending>) {
        self.store.set_available(false);
        for pending in batch.drain(..) {
            let _ = pending.reply.send(Err(AppendError::OutcomeUnknown));
        }
        while let Ok(pending) = self.queue.try_recv() {
            let _ = pending.reply.send(Err(AppendError::Unavailable));
        }
        self.metrics.queue_depth.set(0);
    }
}

/// While appends fail.
#[derive(Default)]
struct Outage {
    since: Option<Instant>,
    reported: Reported,
}

fn seconds_ahead(time: DateTime<Utc>) -> f64 {
    (time - Utc::now()).as_seconds_f64().max(0.0)
}

fn depth(waiting: usize) -> i64 {
    i64::try_from(waiting).unwrap_or(i64::MAX)
}

async fn append(connection: &mut PgConnection, batch: &[Pending]) -> sqlx::Result<Appended> {
    let append = store::append(connection, batch.iter().map(|pending| &pending.new));
    timeout(DATABASE_TIMEOUT, append).await.map_err(|_| timed_out())?
}

fn timed_out() -> sqlx::Error {
    sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())
}
