//! Publishes one batch at a time.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use async_nats::{
    HeaderMap, HeaderValue,
    connection::State,
    header::NATS_EXPECTED_LAST_SEQUENCE,
    jetstream::{
        self, ErrorCode,
        consumer::{DeliverPolicy, pull},
        context::{GetStreamErrorKind, PublishError, PublishErrorKind},
        message::PublishMessage,
        stream::{Config, StorageType, Stream},
    },
};
use contract::{cloud_event::CloudEvent, position::Position, recorded_event::RecordedEvent};
use event_log::{self, LastEvent, ReadError};
use runtime::{
    fail_points::fail_point,
    nats::{self, STREAM, SUBJECTS, agrees_at, holds_log, subject},
    run_loop::Reported,
    traces::{SpanKind, Step, TRACEPARENT},
};
use sqlx::PgPool;
use tokio::time::{Instant, error::Elapsed, timeout};
use tracing::{info, warn};

use super::{
    comparison::{Comparison, missing_messages},
    metrics::Metrics,
};
use crate::handoff::HandoffBuffer;

/// Messages in flight before the relay waits for an acknowledgement. JetStream drops messages when 10,000 are pending.
pub const MAX_BATCH: usize = 1000;
/// How often the stream is compared with the log, also while purchases arrive.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// How old a stream has to be per message before it is refilled: several times as long as its last refill took, so that subscribers of a
/// long log receive something in between while a disk damages the stream again and again.
const MIN_AGE_PER_MESSAGE: Duration = Duration::from_micros(100);
/// The same for a short log.
const MIN_AGE: Duration = Duration::from_secs(1);
/// Time to read the lag from the log while publishing fails.
const LAG_TIMEOUT: Duration = Duration::from_secs(1);

/// The durable consumer of another system, named as its NATS user.
const SUBSCRIBER: &str = "subscriber";
/// Exceeds the processing time of an event: past it, JetStream redelivers.
const ACK_WAIT: Duration = Duration::from_secs(5);

/// Why a batch was not published.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    #[error("NATS is not connected")]
    Disconnected,
    #[error("NATS or the event store did not respond in time")]
    TimedOut(#[from] Elapsed),
    #[error("the stream does not end where expected: another relay published, or it was wiped")]
    WrongLastSequence,
    #[error("publishing failed: {0}")]
    Publish(PublishError),
    #[error("the stream cannot be read: {0}")]
    Stream(#[from] async_nats::Error),
    #[error(transparent)]
    Log(#[from] ReadError),
    /// Two logs on one stream, or a log restored from a backup. An operator has to decide which one is right.
    #[error(
        "the stream holds other events than the log: it belongs to another log, or the log was restored; delete the \
         stream {STREAM} to refill it from this log"
    )]
    Diverged { stream: Position, log: Position },
}

impl From<PublishError> for RelayError {
    fn from(error: PublishError) -> Self {
        match error.kind() {
            PublishErrorKind::WrongLastSequence => Self::WrongLastSequence,
            _ => Self::Publish(error),
        }
    }
}

/// Publishes batches and remembers the end of the stream.
pub struct Publisher {
    pool: PgPool,
    client: async_nats::Client,
    jetstream: jetstream::Context,
    handoff: Arc<HandoffBuffer>,
    /// The last position on the stream; `None` when it may have changed.
    published: Option<Position>,
    /// When the end of the stream is read in any case, to compare it with the log.
    check_at: Instant,
    /// The last event of each batch since that comparison: a log that was cut back and has grown again does not have some of them.
    unverified: Vec<LastEvent>,
    comparison: Comparison,
    /// Why the messages cannot be compared.
    comparison_reported: Reported,
    /// Where a message was found that is not the log's event.
    differs_at: Option<Position>,
    known_stream: Option<KnownStream>,
    /// Where the consumer of other systems continues in a refilled stream.
    subscriber_from: Option<Position>,
    /// When the stream was last known to hold the whole log; initially the start.
    complete_at: Instant,
    /// Why the log could not be read while publishing fails.
    lag_reported: Reported,
    /// Why the consumer of another system cannot be used.
    subscriber_reported: Reported,
    new_stream: NewStream,
    metrics: Metrics,
}

/// The stream that this relay saw last.
#[derive(Clone, Copy, Debug)]
struct KnownStream {
    /// By the clock of NATS.
    created: SystemTime,
    since: Instant,
    /// The relay knew another one before.
    is_replacement: bool,
}

/// Configuration of a stream that has to be created.
#[derive(Clone, Copy, Debug)]
pub struct NewStream {
    pub max_messages: i64,
    pub settings: nats::Settings,
}

impl Publisher {
    pub fn new(
        pool: PgPool,
        client: async_nats::Client,
        handoff: Arc<HandoffBuffer>,
        new_stream: NewStream,
        metrics: Metrics,
    ) -> Self {
        let jetstream = jetstream::new(client.clone());
        let now = Instant::now();
        Self {
            pool,
            client,
            jetstream,
            handoff,
            published: None,
            check_at: now,
            unverified: Vec::new(),
            comparison: Comparison::start(),
            comparison_reported: Reported::default(),
            differs_at: None,
            known_stream: None,
            subscriber_from: None,
            complete_at: now,
            lag_reported: Reported::default(),
            subscriber_reported: Reported::default(),
            new_stream,
            metrics,
        }
    }

    /// The last position known to be on the stream.
    pub fn position(&self) -> i64 {
        self.metrics.position.get()
    }

    /// The stream may have changed: read its end before the next batch.
    pub fn forget(&mut self) {
        self.published = None;
    }

    /// Publishes the next events after the end of the stream. Returns their number.
    pub async fn publish_next(&mut self) -> Result<usize, RelayError> {
        if self.client.connection_state() != State::Connected {
            self.forget();
            return Err(RelayError::Disconnected);
        }
        let last = match self.published {
            Some(position) if Instant::now() < self.check_at => position,
            _ => self.end_of_stream().await?,
        };
        let mut events = self.handoff.take_after(last, MAX_BATCH);
        if events.is_empty() {
            events = event_log::read_after(&self.pool, last, MAX_BATCH).await?;
        }
        self.metrics.record_lag(events.first(), u32::try_from(events.len()).unwrap_or(u32::MAX));
        let end = match events.last() {
            None => last,
            Some(newest) => {
                self.forget(); // until the outcome is known
                let publishing = Step::begin();
                self.publish(&events).await?;
                fail_point("published");
                publishing.done("publish", &SpanKind::Producer, &events);
                self.unverified.push(LastEvent::of(newest));
                newest.position
            }
        };
        self.published = Some(end);
        self.metrics.position.set(end.get());
        if events.len() < MAX_BATCH {
            self.metrics.record_lag(None, 0);
            self.complete_at = Instant::now();
            self.lag_reported.recovered();
            if self.subscriber_from.is_some() {
                self.check_at = self.complete_at; // to create its consumer
            }
        }
        Ok(events.len())
    }

    /// Publishes the events in order and waits for the acknowledgement of the last one. The stream rejects each of them unless
    /// the one before is its last message, so that the last acknowledgement covers all.
    async fn publish(&self, events: &[RecordedEvent]) -> Result<(), RelayError> {
        let Some((newest, before)) = events.split_last() else { return Ok(()) };
        fail_point("publish");
        for event in before {
            self.client
                .publish_with_headers(subject(&event.event_type), headers(event), json(event)?.into())
                .await
                .map_err(|error| RelayError::Stream(error.into()))?;
        }
        let last = PublishMessage::build().headers(headers(newest)).payload(json(newest)?.into());
        let acknowledged = self.jetstream.send_publish(subject(&newest.event_type), last).await?.await?;
        let end = Position::from_sequence(acknowledged.sequence);
        if end == newest.position { Ok(()) } else { Err(RelayError::Diverged { stream: end, log: newest.position }) }
    }

    /// The last position on the stream, which is compared with the log. Creates a missing stream so that the next message gets the right
    /// sequence.
    async fn end_of_stream(&mut self) -> Result<Position, RelayError> {
        self.forget(); // until it agrees with the log
        let stream = match self.jetstream.get_stream(STREAM).await {
            Ok(stream) => stream,
            Err(error) => match error.kind() {
                GetStreamErrorKind::JetStream(reason) if reason.error_code() == ErrorCode::STREAM_NOT_FOUND => {
                    self.create_stream().await?
                }
                _ => return Err(RelayError::Stream(error.into())),
            },
        };
        self.recognize(&stream);
        let end = Position::from_sequence(stream.cached_info().state.last_sequence);
        self.provide_subscriber(&stream, end).await;
        let same_log = holds_log(&stream, &self.pool).await? && self.agrees(&stream).await?;
        let head = event_log::head(&self.pool).await?;
        self.metrics.missing_messages.set(missing_messages(stream.cached_info(), head).cast_signed());
        self.metrics.diverged.set(i64::from(!same_log));
        self.check_at = Instant::now() + CHECK_INTERVAL;
        if same_log { Ok(end) } else { Err(RelayError::Diverged { stream: end, log: head }) }
    }

    fn recognize(&mut self, stream: &Stream) {
        let created = SystemTime::from(stream.cached_info().created);
        if self.known_stream.is_none_or(|known| known.created != created) {
            let is_replacement = self.known_stream.is_some();
            self.known_stream = Some(KnownStream { created, since: Instant::now(), is_replacement });
        }
    }

    /// Whether the messages agree with the log, as far as they are compared: those that this relay has published since the last time, and
    /// the next ones in the background. A difference lasts until the message is gone.
    async fn agrees(&mut self, stream: &Stream) -> Result<bool, RelayError> {
        if self.differs_at.is_none() {
            self.differs_at = event_log::first_missing(&self.pool, &self.unverified).await?;
            self.unverified.clear();
        }
        if self.differs_at.is_none() {
            match self.comparison.next_difference(stream, &self.pool).await {
                Ok(difference) => {
                    self.differs_at = difference;
                    self.comparison_reported.recovered();
                }
                Err(error) if self.comparison_reported.failed(&error) => {
                    warn!(event.name = "relay.not_compared", %error, "The messages of the stream cannot be compared");
                }
                Err(_) => {}
            }
        }
        if let Some(position) = self.differs_at
            && agrees_at(position, stream, &self.pool).await?
        {
            self.differs_at = None;
        }
        Ok(self.differs_at.is_none())
    }

    /// Deletes a stream that lacks messages, so that it is created again and filled from the log. Deleted sequences cannot be filled. A
    /// relay that has just started does not know the stream for long, nor does it after another relay has refilled it.
    pub async fn refill_if_incomplete(&mut self) -> Result<(), RelayError> {
        let missing = self.metrics.missing_messages.get();
        let Some(known) = self.known_stream.filter(|known| missing > 0 && !self.is_new(known)) else { return Ok(()) };
        self.forget();
        let stream = self.jetstream.get_stream(STREAM).await.map_err(|error| RelayError::Stream(error.into()))?;
        if SystemTime::from(stream.cached_info().created) != known.created {
            return Ok(()); // another relay is refilling it
        }
        let subscriber = stream.consumer_info(SUBSCRIBER).await.ok();
        self.subscriber_from =
            subscriber.map(|consumer| Position::from_sequence(consumer.ack_floor.stream_sequence).next());
        self.jetstream.delete_stream(STREAM).await.map_err(|error| RelayError::Stream(error.into()))?;
        warn!(event.name = "relay.refilled", missing, "The stream lacked messages; filling a new one from the log");
        Ok(())
    }

    /// Whether a stream may still be filled by another relay.
    fn is_new(&self, stream: &KnownStream) -> bool {
        stream.since.elapsed() < min_age(self.position().min(self.new_stream.max_messages))
    }

    /// Creates the consumer of other systems if there is none. In a refilled stream it continues where it was, once the stream is there:
    /// the relay that refills it knows the position, the others wait.
    async fn provide_subscriber(&mut self, stream: &Stream, end: Position) {
        let deliver_policy = match self.subscriber_from {
            Some(from) if end.next() < from => return,
            Some(from) => DeliverPolicy::ByStartSequence { start_sequence: from.as_sequence() },
            None if self.known_stream.is_some_and(|known| known.is_replacement && self.is_new(&known)) => return,
            None => DeliverPolicy::All,
        };
        let config = pull::Config { deliver_policy, ..subscriber() };
        match stream.get_or_create_consumer(SUBSCRIBER, config).await {
            Ok(_) => {
                self.subscriber_from = None;
                self.subscriber_reported.recovered();
            }
            Err(error) if self.subscriber_reported.failed(&error) => {
                warn!(event.name = "relay.no_subscriber", %error, "The consumer of other systems cannot be used");
            }
            Err(_) => {}
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

    /// Records the lag while publishing fails. After a start without NATS, the end of the stream is not known, and any event may be
    /// unpublished.
    pub(super) async fn observe_lag(&mut self) {
        let published = Position::try_from(self.position()).unwrap_or_default();
        if published == Position::START {
            self.metrics.record_unknown_lag(self.complete_at.elapsed());
            return;
        }
        let lag = async {
            let head = event_log::head(&self.pool).await?;
            let oldest = event_log::read_after(&self.pool, published, 1).await?;
            Ok::<_, RelayError>((head.get() - published.get(), oldest))
        };
        match timeout(LAG_TIMEOUT, lag).await.map_err(RelayError::from).flatten() {
            Ok((positions, oldest)) => {
                self.metrics.record_lag(oldest.first(), u32::try_from(positions.max(0)).unwrap_or(u32::MAX));
            }
            Err(error) => {
                self.metrics.record_unknown_lag(self.complete_at.elapsed());
                if self.lag_reported.failed(&error) {
                    warn!(event.name = "relay.lag_unknown", %error, "The relay can neither publish nor read the log");
                }
            }
        }
    }
}

/// How old a stream of so many messages has to be before it is refilled.
pub fn min_age(messages: i64) -> Duration {
    let messages = u32::try_from(messages.max(0)).unwrap_or(u32::MAX);
    MIN_AGE.max(MIN_AGE_PER_MESSAGE * messages)
}

/// The consumer of another system. Created here: its creator determines where the server delivers, even onto other streams.
pub fn subscriber() -> pull::Config {
    pull::Config {
        durable_name: Some(SUBSCRIBER.to_owned()),
        ack_wait: ACK_WAIT,
        // One at a time: otherwise later events would overtake a redelivered one.
        max_ack_pending: 1,
        ..pull::Config::default()
    }
}

/// The headers of a message: one makes it fit one place of the stream only, the other one continues the trace of the event, which its
/// line does not show.
fn headers(event: &RecordedEvent) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(NATS_EXPECTED_LAST_SEQUENCE, (event.position.get() - 1).to_string());
    let traceparent = event.decode_metadata().ok().and_then(|metadata| metadata.traceparent);
    if let Some(traceparent) = traceparent.and_then(|text| text.parse::<HeaderValue>().ok()) {
        headers.insert(TRACEPARENT, traceparent);
    }
    headers
}

fn json(event: &RecordedEvent) -> Result<Vec<u8>, ReadError> {
    Ok(CloudEvent::try_from(event)?.to_json())
}
