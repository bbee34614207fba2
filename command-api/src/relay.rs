//! The relay: publishes what is committed on JetStream, in position order, so that stream sequence equals position.
//!
//! Every batch names the sequence that must be the stream's last. A second relay, a retry or a relay that was thought
//! dead is refused by the stream itself, looks where the stream stands, and goes on from there. So any number of
//! relays may run, none needs to be elected, and a stream that was wiped or fell behind is filled again from the log.

use std::{
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use async_nats::{
    HeaderMap,
    connection::State,
    header::NATS_EXPECTED_LAST_SEQUENCE,
    jetstream::{
        self, ErrorCode,
        context::{GetStreamErrorKind, PublishError, PublishErrorKind},
        message::PublishMessage,
        stream::{Config, StorageType, Stream},
    },
};

use chrono::Utc;
use contract::{cloud_event::CloudEvent, position::Position, recorded_event::RecordedEvent};
use event_log::{self, ReadError};
use prometheus_client::{
    metrics::gauge::Gauge,
    registry::{Registry, Unit},
};
use runtime::{
    nats::{self, STREAM, SUBJECTS, holds_log, subject},
    run_loop::{self, run_loop},
    traces::{SpanKind, Step},
};
use sqlx::PgPool;
use tokio::time::{Interval, MissedTickBehavior, error::Elapsed, interval, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::handoff::HandoffBuffer;

/// Messages that are on their way before one is waited for: JetStream drops messages when 10,000 wait for it.
const MAX_BATCH: usize = 1000;
/// Minimum interval between two batches, so that the work per batch covers more events. A purchase after a pause is published
/// immediately.
const MIN_BATCH_INTERVAL: Duration = Duration::from_millis(5);
/// How often the relay polls without a notification, in case another replica died between its commit and its publication, or
/// the stream was wiped.
const FALLBACK_POLL_INTERVAL: Duration = Duration::from_secs(1);
/// What the stream keeps for consumers that were away. Older events are read from the log.
const STREAM_MAX_MESSAGES: i64 = 1_000_000;

/// Why a batch was not published.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    #[error("NATS is not connected")]
    Disconnected,
    #[error("NATS or the event store did not answer in time")]
    TimedOut(#[from] Elapsed),
    #[error("the stream does not end where it was thought to: another relay published, or it was wiped")]
    WrongLastSequence,
    #[error("publishing failed: {0}")]
    Publish(PublishError),
    #[error("the stream cannot be looked at: {0}")]
    Stream(#[from] async_nats::Error),
    #[error(transparent)]
    Log(#[from] ReadError),
    /// Two logs on one stream, or a log that was restored from a backup. Nothing here may decide which one is right.
    #[error(
        "the stream holds other events than the log: it belongs to another log, or the log was restored; delete the \
         stream {STREAM} to have it filled again from this log"
    )]
    Diverged { stream: Position, log: Position },
}

impl From<sqlx::Error> for RelayError {
    fn from(error: sqlx::Error) -> Self {
        Self::Log(error.into())
    }
}

/// What operators see of the relay.
#[derive(Clone, Default)]
pub struct Metrics {
    position: Gauge,
    lag_positions: Gauge,
    lag_seconds: Gauge<f64, AtomicU64>,
    diverged: Gauge,
}

impl Metrics {
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register("relay_position", "Last position known to be on the stream", metrics.position.clone());
        let help = "Events known to be committed but not published, at most a batch while the relay gets on";
        registry.register("relay_lag_positions", help, metrics.lag_positions.clone());
        let help = "Age of the oldest event that is not published";
        registry.register_with_unit("relay_lag", help, Unit::Seconds, metrics.lag_seconds.clone());
        registry.register(
            "relay_diverged",
            "1 while the stream holds other events than the log",
            metrics.diverged.clone(),
        );
        metrics
    }
}

/// The task that keeps the stream up to date.
pub struct Relay {
    pool: PgPool,
    nats_url: String,
    streams: nats::Settings,
    committed: Arc<HandoffBuffer>,
    metrics: Metrics,
}

impl Relay {
    pub fn new(
        pool: PgPool,
        nats_url: String,
        streams: nats::Settings,
        committed: Arc<HandoffBuffer>,
        metrics: Metrics,
    ) -> Self {
        Self { pool, nats_url, streams, committed, metrics }
    }

    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        let client = runtime::nats::connect(&self.nats_url, "command-api").await?;
        let new_stream = NewStream { max_messages: STREAM_MAX_MESSAGES, settings: self.streams };
        let publisher = Publisher::new(self.pool, client, Arc::clone(&self.committed), new_stream, self.metrics);
        let mut batch_interval = interval(MIN_BATCH_INTERVAL);
        batch_interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut publishing = Publishing { publisher, committed: self.committed, batch_interval, idle: false };
        run_loop(&mut publishing, &stop).await;
        Ok(())
    }
}

/// The publisher as a task, which the writer wakes.
struct Publishing {
    publisher: Publisher,
    committed: Arc<HandoffBuffer>,
    batch_interval: Interval,
    /// The last iteration published everything.
    idle: bool,
}

impl run_loop::Step for Publishing {
    type Error = RelayError;

    async fn due(&mut self) {
        let wait = self.idle && self.committed.is_empty();
        if wait && timeout(FALLBACK_POLL_INTERVAL, self.committed.changed()).await.is_err() {
            self.publisher.forget();
        }
        self.batch_interval.tick().await;
    }

    async fn step(&mut self) -> Result<(), RelayError> {
        self.idle = false;
        self.idle = self.publisher.publish_next().await? < MAX_BATCH;
        Ok(())
    }

    async fn observe(&mut self, outcome: Result<(), &RelayError>) {
        if outcome.is_err_and(|error| !self.is_routine(error)) {
            self.publisher.observe_lag().await;
        }
    }

    fn is_routine(&self, error: &RelayError) -> bool {
        matches!(error, RelayError::WrongLastSequence)
    }

    fn report(&self, failure: Option<&RelayError>) {
        match failure {
            Some(error @ RelayError::Diverged { stream, log }) => {
                warn!(stream.position = stream.get(), log.position = log.get(), %error, "The relay cannot publish");
            }
            Some(error) => warn!(%error, "The relay cannot publish; retrying while purchases continue"),
            None => info!("The relay has recovered"),
        }
    }
}

/// Publishes batch after batch and remembers where the stream ends.
pub struct Publisher {
    pool: PgPool,
    client: async_nats::Client,
    jetstream: jetstream::Context,
    committed: Arc<HandoffBuffer>,
    /// The last position on the stream, as far as known; `None` when somebody else may have changed it.
    published: Option<Position>,
    new_stream: NewStream,
    metrics: Metrics,
}

/// The stream that is made when there is none.
#[derive(Clone, Copy, Debug)]
pub struct NewStream {
    pub max_messages: i64,
    pub settings: nats::Settings,
}

impl Publisher {
    pub fn new(
        pool: PgPool,
        client: async_nats::Client,
        committed: Arc<HandoffBuffer>,
        new_stream: NewStream,
        metrics: Metrics,
    ) -> Self {
        let jetstream = jetstream::new(client.clone());
        Self { pool, client, jetstream, committed, published: None, new_stream, metrics }
    }

    /// The last position known to have been on the stream.
    pub fn position(&self) -> i64 {
        self.metrics.position.get()
    }

    /// The stream may have changed: look at it before the next batch.
    pub fn forget(&mut self) {
        self.published = None;
    }

    /// Publishes the next events after the end of the stream, and returns how many they were.
    pub async fn publish_next(&mut self) -> Result<usize, RelayError> {
        if self.client.connection_state() != State::Connected {
            self.forget();
            return Err(RelayError::Disconnected);
        }
        let last = match self.published {
            Some(position) => position,
            None => self.look_at_stream().await?,
        };
        let mut events = self.committed.take_after(last, MAX_BATCH);
        if events.is_empty() {
            events = event_log::read_after(&self.pool, last, MAX_BATCH).await?;
        }
        self.record_lag(events.first(), i64::try_from(events.len()).unwrap_or(i64::MAX));
        let end = match events.last() {
            None => last,
            Some(newest) => {
                self.forget(); // until the outcome is known
                let publishing = Step::begin();
                self.publish(&events).await?;
                publishing.done("publish", &SpanKind::Producer, &events);
                newest.position
            }
        };
        self.published = Some(end);
        self.metrics.position.set(end.get());
        if events.len() < MAX_BATCH {
            self.record_lag(None, 0);
        }
        Ok(events.len())
    }

    /// Publishes the events one after the other and waits until the last one is in: each of them is refused unless the
    /// one before it is the stream's last, so that the last one's acknowledgement stands for all.
    async fn publish(&self, events: &[RecordedEvent]) -> Result<(), RelayError> {
        let Some((newest, before)) = events.split_last() else { return Ok(()) };
        for event in before {
            self.client
                .publish_with_headers(subject(&event.event_type), follows(event), json(event)?.into())
                .await
                .map_err(|error| RelayError::Stream(error.into()))?;
        }
        let last = PublishMessage::build().headers(follows(newest)).payload(json(newest)?.into());
        let acknowledged = self.jetstream.send_publish(subject(&newest.event_type), last).await?.await?;
        let end = Position::from_sequence(acknowledged.sequence);
        if end == newest.position { Ok(()) } else { Err(RelayError::Diverged { stream: end, log: newest.position }) }
    }

    /// Where the stream ends. Creates it when there is none, so that the next message gets the right sequence.
    async fn look_at_stream(&self) -> Result<Position, RelayError> {
        let stream = match self.jetstream.get_stream(STREAM).await {
            Ok(stream) => stream,
            Err(error) => match error.kind() {
                GetStreamErrorKind::JetStream(reason) if reason.error_code() == ErrorCode::STREAM_NOT_FOUND => {
                    self.create_stream().await?
                }
                _ => return Err(RelayError::Stream(error.into())),
            },
        };
        let same_log = holds_log(&stream, &self.pool).await?;
        let end = Position::from_sequence(stream.cached_info().state.last_sequence);
        self.metrics.diverged.set(i64::from(!same_log));
        if same_log {
            Ok(end)
        } else {
            Err(RelayError::Diverged { stream: end, log: event_log::head(&self.pool).await? })
        }
    }

    async fn create_stream(&self) -> Result<Stream, RelayError> {
        let head = event_log::head(&self.pool).await?;
        let skipped = (head.get() - self.new_stream.max_messages).max(0);
        info!(stream.first = skipped + 1, head = head.get(), "Creating the stream and filling it from the log");
        let (num_replicas, persist_mode) = self.new_stream.settings.replicas_and_persistence();
        let config = Config {
            name: STREAM.to_owned(),
            subjects: vec![SUBJECTS.to_owned()],
            description: Some("Events of the sales log; the sequence equals the position in the log".to_owned()),
            max_messages: self.new_stream.max_messages,
            num_replicas,
            storage: StorageType::File,
            persist_mode,
            first_sequence: Some((skipped + 1).cast_unsigned()),
            ..Config::default()
        };
        self.jetstream.create_stream(config).await.map_err(|error| RelayError::Stream(error.into()))
    }

    fn record_lag(&self, oldest: Option<&RecordedEvent>, positions: i64) {
        let age = oldest.map_or(0.0, |event| (Utc::now() - event.recorded_at).as_seconds_f64().max(0.0));
        self.metrics.lag_seconds.set(age);
        self.metrics.lag_positions.set(positions);
    }

    /// While nothing can be published, the lag grows: says by how much, as far as it is known where the stream ends.
    async fn observe_lag(&self) {
        let published = Position::try_from(self.position()).unwrap_or_default();
        if published == Position::START {
            self.metrics.lag_seconds.set(f64::NAN); // which says less than what another replica knows
            return;
        }
        let lag = async {
            let head = event_log::head(&self.pool).await?;
            let oldest = event_log::read_after(&self.pool, published, 1).await?;
            Ok::<_, ReadError>((head.get() - published.get(), oldest))
        };
        if let Ok(Ok((positions, oldest))) = timeout(FALLBACK_POLL_INTERVAL, lag).await {
            self.record_lag(oldest.first(), positions);
        } else {
            error!("The relay can neither publish nor read the log");
        }
    }
}

/// What makes a message fit in one place of the stream only.
fn follows(event: &RecordedEvent) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(NATS_EXPECTED_LAST_SEQUENCE, (event.position.get() - 1).to_string());
    headers
}

fn json(event: &RecordedEvent) -> Result<Vec<u8>, ReadError> {
    Ok(CloudEvent::try_from(event)?.to_json())
}

impl From<PublishError> for RelayError {
    fn from(error: PublishError) -> Self {
        match error.kind() {
            PublishErrorKind::WrongLastSequence => Self::WrongLastSequence,
            _ => Self::Publish(error),
        }
    }
}
