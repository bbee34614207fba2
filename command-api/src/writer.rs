//! Group commit: one task takes whatever is waiting and appends it in one statement.
//!
//! There is no timer. While one batch is being committed the next one gathers, so batches grow with the load and an
//! idle system adds no latency. The task outlives every request: a client that hangs up leaves nothing half done.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use prometheus_client::{
    metrics::{counter::Counter, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};
use runtime::{
    backoff::Backoff,
    traces::{SpanKind, Step},
};
use sqlx::{ConnectOptions, Connection, PgConnection, postgres::PgConnectOptions};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    committed::Committed,
    store::{self, Appended, NewEvent, Recorded},
};

/// Commands that may wait. At the slowest commit seen they wait well below a second; more would only wait longer.
pub const QUEUE_CAPACITY: usize = 4096;
/// Events in one statement: beyond this a larger batch no longer makes the commit cheaper per event.
pub const MAX_BATCH: usize = 1024;
/// A statement or connection attempt that takes longer has met a broken network rather than a busy server.
const DATABASE_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a batch is tried again after an error before its commands are answered 503. Long enough for a restart of
/// the database; whoever waits longer than the request time limit is answered by that.
const PATIENCE: Duration = Duration::from_secs(4);

/// Why a command was not acknowledged.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    #[error("too many commands are waiting")]
    QueueFull,
    #[error("the event store cannot be reached")]
    Unavailable,
    #[error("the event store did not answer, and whether the event was stored is not known")]
    OutcomeUnknown,
}

struct Pending {
    new: NewEvent,
    reply: oneshot::Sender<Result<Recorded, AppendError>>,
}

/// The way into the log.
#[derive(Clone)]
pub struct EventLog(Arc<Entrance>);

/// One for all requests, which would otherwise contend for the counts of its parts.
struct Entrance {
    queue: mpsc::Sender<Pending>,
    store: Arc<StoreState>,
    queue_depth: Gauge,
}

/// What the writer knows of the event store. In the beginning it is neither: commands wait for the first connection.
#[derive(Default)]
struct StoreState {
    /// It answered when it was last asked.
    answers: AtomicBool,
    /// It has not answered for longer than anybody's patience: nobody is kept waiting for it.
    away: AtomicBool,
}

impl StoreState {
    fn set_answers(&self, answers: bool) {
        self.answers.store(answers, Ordering::Relaxed);
        self.away.store(!answers, Ordering::Relaxed);
    }
}

impl EventLog {
    /// Returns when the event is committed, or says at once that it cannot be taken.
    pub async fn append(&self, new: NewEvent) -> Result<Recorded, AppendError> {
        let Entrance { queue, store, queue_depth } = &*self.0;
        if store.away.load(Ordering::Relaxed) {
            return Err(AppendError::Unavailable);
        }
        let (reply, answer) = oneshot::channel();
        queue.try_send(Pending { new, reply }).map_err(|_| AppendError::QueueFull)?;
        queue_depth.set(depth(QUEUE_CAPACITY - queue.capacity()));
        answer.await.unwrap_or(Err(AppendError::OutcomeUnknown))
    }

    /// Whether the event store answered when it was last asked.
    pub fn is_available(&self) -> bool {
        self.0.store.answers.load(Ordering::Relaxed)
    }
}

/// What operators see of the writer.
#[derive(Clone)]
pub struct Metrics {
    appended: Counter,
    queue_depth: Gauge,
    batch_size: Histogram,
    append_duration: Histogram,
}

impl Metrics {
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            appended: Counter::default(),
            queue_depth: Gauge::default(),
            batch_size: Histogram::new([1.0, 4.0, 16.0, 64.0, 256.0, 1024.0]),
            append_duration: Histogram::new([0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5]),
        };
        registry.register("commands_committed", "Commands answered from a commit", metrics.appended.clone());
        registry.register("append_queue_depth", "Commands waiting for the writer", metrics.queue_depth.clone());
        registry.register("append_batch_size", "Events per statement", metrics.batch_size.clone());
        let help = "Time of one append statement, commit included";
        registry.register_with_unit("append_duration", help, Unit::Seconds, metrics.append_duration.clone());
        metrics
    }
}

/// The task behind an [`EventLog`].
pub struct Writer {
    options: PgConnectOptions,
    queue: mpsc::Receiver<Pending>,
    store: Arc<StoreState>,
    committed: Arc<Committed>,
    metrics: Metrics,
}

/// Both ends of the way into the log. `committed` gets to know what was committed.
pub fn event_log(options: PgConnectOptions, committed: Arc<Committed>, metrics: Metrics) -> (EventLog, Writer) {
    let (sender, queue) = mpsc::channel(QUEUE_CAPACITY);
    let store = Arc::new(StoreState::default());
    let entrance = Entrance { queue: sender, store: Arc::clone(&store), queue_depth: metrics.queue_depth.clone() };
    (EventLog(Arc::new(entrance)), Writer { options, queue, store, committed, metrics })
}

impl Writer {
    /// Writes until told to stop, and then what is still waiting.
    pub async fn run(mut self, stop: CancellationToken) -> anyhow::Result<()> {
        let mut connection = None;
        let mut batch = Vec::with_capacity(MAX_BATCH);
        let mut failing_since: Option<Instant> = None;
        let mut backoff = Backoff::default();
        loop {
            match self.advance(&mut connection, &mut batch, &mut failing_since, &stop).await {
                Ok(true) => backoff.reset(),
                Ok(false) => return Ok(()),
                Err(error) => {
                    // Whether the statement took effect is not known. The batch stays: appending it again is safe.
                    connection = None;
                    let since = *failing_since.get_or_insert_with(|| {
                        warn!(%error, "The event store does not answer; trying again");
                        Instant::now()
                    });
                    if since.elapsed() > PATIENCE || self.store.away.load(Ordering::Relaxed) {
                        self.give_up(&mut batch);
                    }
                    if stop.is_cancelled() {
                        self.give_up(&mut batch);
                        return Ok(());
                    }
                    backoff.wait().await;
                }
            }
        }
    }

    /// Connects if need be, waits for work, appends it. False when there is no more work to come.
    async fn advance(
        &mut self,
        connection: &mut Option<PgConnection>,
        batch: &mut Vec<Pending>,
        failing_since: &mut Option<Instant>,
        stop: &CancellationToken,
    ) -> sqlx::Result<bool> {
        let connected = match connection {
            Some(connected) => connected,
            None => connection.insert(connect(&self.options).await?),
        };
        if batch.is_empty() {
            // Nobody waits any longer for what failed before, so that the patience is for the next batch again. A store that lets
            // itself be connected to may take nothing all the same: nobody is let in before it has taken a batch, be it an empty one.
            if failing_since.is_some() {
                append(connected, &[]).await?;
                *failing_since = None;
                info!("The event store answers again");
            }
            self.store.set_answers(true);
            if !self.gather(batch, stop).await {
                return Ok(false);
            }
        }
        let started = Instant::now();
        let appending = Step::begin();
        let appended = append(connected, batch).await?;
        self.metrics.append_duration.observe(started.elapsed().as_secs_f64());
        self.metrics.batch_size.observe(f64::from(u32::try_from(batch.len()).unwrap_or(u32::MAX)));
        self.metrics.appended.inc_by(batch.len() as u64);
        self.answer(batch, appended, appending);
        Ok(true)
    }

    /// Tells everybody who waits, and the relay. A client that hung up does not want its answer; its purchase stands and
    /// its key finds it again.
    fn answer(&self, batch: &mut Vec<Pending>, appended: Appended, appending: Step) {
        match appended {
            Appended::AllNew { first, recorded_at } => {
                let mut events = Vec::with_capacity(batch.len());
                let mut position = first;
                for Pending { new, reply } in batch.drain(..) {
                    let (recorded, event) = new.recorded(position, recorded_at);
                    let _ = reply.send(Ok(recorded));
                    events.push(event);
                    position = position.next();
                }
                appending.done("append", &SpanKind::Internal, &events);
                self.committed.add(events);
            }
            Appended::SomeKnown(recorded) => {
                for (pending, recorded) in batch.drain(..).zip(recorded) {
                    let _ = pending.reply.send(Ok(recorded));
                }
                self.committed.add(Vec::new());
            }
        }
    }

    /// Takes all that waits, up to a full batch. False when told to stop and nothing waits any more.
    async fn gather(&mut self, batch: &mut Vec<Pending>, stop: &CancellationToken) -> bool {
        let taken = tokio::select! {
            biased;
            taken = self.queue.recv_many(batch, MAX_BATCH) => taken,
            () = stop.cancelled() => {
                self.queue.close();
                self.queue.recv_many(batch, MAX_BATCH).await
            }
        };
        self.let_others_join(batch).await;
        self.metrics.queue_depth.set(depth(self.queue.len()));
        taken > 0
    }

    /// The answers to the last batch bring the next requests of the same clients, and the first of them should not
    /// leave for the disk alone. As long as letting the other tasks run brings more, more are taken along; when
    /// nobody is about to come, that is once, and costs microseconds.
    async fn let_others_join(&mut self, batch: &mut Vec<Pending>) {
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

    /// Answers everybody who waits, and from now on says no at once until the store is back.
    fn give_up(&mut self, batch: &mut Vec<Pending>) {
        self.store.set_answers(false);
        for pending in batch.drain(..) {
            let _ = pending.reply.send(Err(AppendError::OutcomeUnknown));
        }
        while let Ok(pending) = self.queue.try_recv() {
            let _ = pending.reply.send(Err(AppendError::Unavailable));
        }
        self.metrics.queue_depth.set(0);
    }
}

fn depth(waiting: usize) -> i64 {
    i64::try_from(waiting).unwrap_or(i64::MAX)
}

async fn connect(options: &PgConnectOptions) -> sqlx::Result<PgConnection> {
    let connect = async {
        let mut connection = options.connect().await?;
        connection.ping().await?;
        Ok(connection)
    };
    timeout(DATABASE_TIMEOUT, connect).await.map_err(|_| timed_out())?
}

async fn append(connection: &mut PgConnection, batch: &[Pending]) -> sqlx::Result<Appended> {
    let append = store::append(connection, batch.iter().map(|pending| &pending.new));
    timeout(DATABASE_TIMEOUT, append).await.map_err(|_| timed_out())?
}

fn timed_out() -> sqlx::Error {
    sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())
}
