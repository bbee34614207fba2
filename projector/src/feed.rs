//! The next events after a position: from JetStream while it works, from the event store whenever it does not.
//!
//! JetStream is only the faster way. Duplicates are skipped; after a gap, disorder or an invalid message, the events are read
//! from the event store. The projection position makes consumption durable, so the consumer on the stream is ephemeral and
//! starts after it.

use std::{fmt::Display, pin::Pin, time::Duration};

use async_nats::{
    connection::State,
    jetstream::{
        self, Message,
        consumer::{AckPolicy, DeliverPolicy, pull},
    },
};
use contract::{
    cloud_event::{self, CloudEvent},
    event::Metadata,
    position::Position,
    recorded_event::RecordedEvent,
};
use event_log::{Decisions, LastEvent, ReadError};
use futures::{Stream, StreamExt, stream::ReadyChunks};
use runtime::{
    nats::{STREAM, holds_log},
    run_loop::Reported,
    traces::TRACEPARENT,
};
use sqlx::PgPool;
use tokio::{
    task::unconstrained,
    time::{Instant, sleep_until, timeout},
};
use tracing::{debug, info, warn};

/// Events per transaction: bounds memory, and is large enough for the cost of a commit not to matter.
pub const MAX_BATCH: usize = 1000;
/// How often the event store is polled while the stream delivers nothing, and while it does: the store alone tells whether the log
/// still has the last event that was counted.
const FALLBACK_POLL_INTERVAL: Duration = Duration::from_secs(1);
/// Minimum interval between two batches, so that a commit and its notification cover more events. A purchase after a pause is
/// counted immediately.
const MIN_BATCH_INTERVAL: Duration = Duration::from_millis(6);
/// How often the event store is polled, and the stream is looked up, while there is no subscription.
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// Bound for a subscription, as no event is read meanwhile.
const SUBSCRIBE_TIMEOUT: Duration = Duration::from_millis(500);

/// Messages requested ahead, so that the next batches are already there.
const MAX_IN_FLIGHT: usize = 4 * MAX_BATCH;
/// How often an idle server sends a heartbeat. After twice that without one, the stream counts as lost.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// When the server removes a consumer that no longer requests messages.
const INACTIVE_THRESHOLD: Duration = Duration::from_mins(1);

type Messages = Pin<Box<dyn Stream<Item = Result<Message, async_nats::Error>> + Send>>;

/// The next events, and whether they reach the end of the log.
#[derive(Debug)]
pub struct Next {
    pub events: Vec<RecordedEvent>,
    /// The event store has nothing beyond these events.
    pub at_end: bool,
}

/// Follows the log.
pub struct Feed {
    event_store: PgPool,
    nats: async_nats::Client,
    messages: Option<ReadyChunks<Messages>>,
    poll_at: Instant,
    /// When the event store is read although the stream delivers.
    verify_at: Instant,
    /// When the next batch may be taken from the stream.
    listen_at: Instant,
    /// The last page of the event store was full.
    behind: bool,
    /// Why there is no stream to consume.
    reported: Reported,
}

impl Feed {
    pub fn new(event_store: PgPool, nats: async_nats::Client) -> Self {
        let now = Instant::now();
        let (messages, reported) = (None, Reported::default());
        Self { event_store, nats, messages, poll_at: now, verify_at: now, listen_at: now, behind: false, reported }
    }

    /// Waits, bounded, for events after the last one. They follow it without a gap.
    pub async fn next(&mut self, last: &LastEvent) -> Result<Next, ReadError> {
        let verified = Instant::now() < self.verify_at;
        if verified && let Some(delivered) = self.delivered(last.position).await {
            return Ok(Next { events: delivered, at_end: false });
        }
        let read = event_log::read_following(&self.event_store, last, MAX_BATCH).await;
        // An unreachable event store does not keep the stream from being followed in between. A log that is another one does.
        if !read.as_ref().is_err_and(ReadError::is_integrity_violation) {
            self.verify_at = Instant::now() + FALLBACK_POLL_INTERVAL;
        }
        let events = read?;
        let at_end = events.len() < MAX_BATCH;
        self.behind = !at_end;
        Ok(Next { events, at_end })
    }

    /// The decisions after a position, at any distance.
    pub async fn decisions(&mut self, after: Position) -> Result<Decisions, ReadError> {
        Decisions::after(&self.event_store, after).await
    }

    /// The next events from the stream; `None` when they are to be read from the event store.
    async fn delivered(&mut self, after: Position) -> Option<Vec<RecordedEvent>> {
        if self.behind {
            return None; // catch up with the event store first
        }
        let Some(messages) = &mut self.messages else {
            // The event store is read after subscribing, so that no event is missed between the two.
            sleep_until(self.poll_at).await;
            self.poll_at = Instant::now() + POLL_INTERVAL;
            self.subscribe(after).await;
            return None;
        };
        sleep_until(self.listen_at).await;
        // Unconstrained, as tokio's cooperative budget would end every chunk at 128 messages.
        let chunk = timeout(FALLBACK_POLL_INTERVAL, unconstrained(messages.next())).await.ok()?;
        // No pause while lagging behind.
        let full = chunk.as_ref().is_some_and(|chunk| chunk.len() == MAX_BATCH);
        self.listen_at = Instant::now() + if full { Duration::ZERO } else { MIN_BATCH_INTERVAL };
        match chunk.map(|chunk| contiguous(after, chunk)) {
            Some(Ok(events)) => return Some(events),
            Some(Err(reason @ ConsumeError::Lost(_))) => self.lose_stream(&reason),
            None => self.lose_stream(&"the server has ended it"),
            Some(Err(reason)) => {
                debug!(%reason, position = after.get(), "The stream cannot be consumed; reading the event store");
            }
        }
        None
    }

    fn lose_stream(&mut self, reason: &dyn Display) {
        self.messages = None;
        if self.reported.failed(reason) {
            warn!(event.name = "stream.lost", %reason, "The stream cannot be consumed; reading the event store until it can");
        }
    }

    /// Only when connected: the event store must not wait for NATS. Why it is not connected, the connection logs.
    async fn subscribe(&mut self, after: Position) {
        if self.nats.connection_state() != State::Connected {
            return;
        }
        let subscribed = timeout(SUBSCRIBE_TIMEOUT, messages(self.nats.clone(), &self.event_store, after)).await;
        match subscribed.map_err(Into::into).flatten() {
            Ok(messages) => {
                self.messages = Some(messages.ready_chunks(MAX_BATCH));
                if self.reported.recovered() {
                    info!(event.name = "stream.recovered", "The stream is consumed again");
                }
            }
            Err(error) => self.lose_stream(&error),
        }
    }
}

async fn messages(
    nats: async_nats::Client,
    event_store: &PgPool,
    after: Position,
) -> Result<Messages, async_nats::Error> {
    let config = pull::Config {
        deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: after.next().as_sequence() },
        ack_policy: AckPolicy::None,
        memory_storage: true,
        num_replicas: 1,
        inactive_threshold: INACTIVE_THRESHOLD,
        ..pull::Config::default()
    };
    let stream = jetstream::new(nats).get_stream(STREAM).await?;
    if !holds_log(&stream, event_store).await? {
        return Err("the stream holds other events than the log".into());
    }
    let consumer = stream.create_consumer(config).await?;
    let messages = consumer.stream().max_messages_per_batch(MAX_IN_FLIGHT).heartbeat(HEARTBEAT).messages().await?;
    Ok(Box::pin(messages.map(|message| message.map_err(Into::into))))
}

/// Why a chunk of the stream cannot be used.
#[derive(Debug, thiserror::Error)]
enum ConsumeError {
    #[error("the stream failed: {0}")]
    Lost(async_nats::Error),
    #[error("invalid message: {0}")]
    Invalid(#[from] cloud_event::ParseError),
    #[error("gap: expected position {expected}, found {found}")]
    Gap { expected: Position, found: Position },
}

/// The new events of a chunk, if they follow the position without a gap.
fn contiguous(
    after: Position,
    chunk: Vec<Result<Message, async_nats::Error>>,
) -> Result<Vec<RecordedEvent>, ConsumeError> {
    let mut events = Vec::with_capacity(chunk.len());
    let mut last = after;
    for message in chunk {
        let message = message.map_err(ConsumeError::Lost)?;
        let mut event = RecordedEvent::from(CloudEvent::parse(&message.payload)?);
        if event.position <= last {
            continue; // duplicate
        }
        if event.position != last.next() {
            return Err(ConsumeError::Gap { expected: last.next(), found: event.position });
        }
        last = event.position;
        // The line hides the metadata. The trace continues with the message.
        let traceparent = message.headers.as_ref().and_then(|headers| headers.get(TRACEPARENT));
        if let Some(traceparent) = traceparent.filter(|_| event.metadata.is_none()) {
            let traceparent = Some(traceparent.as_str().to_owned());
            event.metadata = Metadata { traceparent, ..Metadata::default() }.encode();
        }
        events.push(event);
    }
    Ok(events)
}
