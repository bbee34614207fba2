//! The next events after a position: from JetStream while it works, from the event store whenever it does not.
//!
//! JetStream is only the faster way. Whatever it delivers twice is passed over; whatever it lacks, garbles or delivers
//! in another order is read from the event store instead. The checkpoint in the read model is what makes the
//! consumption durable, so the consumer on the stream is a throwaway one that starts behind it.

use std::{pin::Pin, time::Duration};

use async_nats::{
    connection::State,
    jetstream::{
        self, Message,
        consumer::{AckPolicy, DeliverPolicy, pull},
    },
};
use contract::{
    cloud_event::{self, CloudEvent},
    position::Position,
    recorded_event::RecordedEvent,
};
use event_log::{self, ReadError};
use futures::{Stream, StreamExt, stream::ReadyChunks};
use runtime::nats::{STREAM, holds_log};
use sqlx::PgPool;
use tokio::{
    task::unconstrained,
    time::{Instant, sleep_until, timeout},
};
use tracing::{debug, warn};

/// Events per transaction: a bound for memory, and far beyond what a commit costs.
pub const MAX_BATCH: usize = 1000;
/// While the stream says nothing, how often the event store is asked whether it knows more.
const RESCUE_INTERVAL: Duration = Duration::from_secs(1);
/// Events are taken no more often than this. A commit, with what it wakes up, is then made for more events, and a purchase
/// that comes after a pause is still counted at once.
const PACE: Duration = Duration::from_millis(6);
/// The same while there is no stream to listen to; also how often one is looked for.
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// How long looking for a stream may take, while no event is read.
const SUBSCRIBE_TIMEOUT: Duration = Duration::from_millis(500);

/// Messages that may be under way to us: those of the next steps are there when they are wanted.
const ASKED_FOR: usize = 4 * MAX_BATCH;
/// A server with nothing to say says so this often; twice that without a word, and the stream counts as lost.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// When the server forgets a consumer that nobody asks any more.
const FORGOTTEN_AFTER: Duration = Duration::from_mins(1);

type Messages = Pin<Box<dyn Stream<Item = Result<Message, async_nats::Error>> + Send>>;

/// The next events, and whether they reach to the end of the log.
#[derive(Debug)]
pub struct Next {
    pub events: Vec<RecordedEvent>,
    /// The event store was asked and knows nothing beyond these events.
    pub at_end: bool,
}

/// Follows the log.
pub struct Feed {
    event_store: PgPool,
    nats: async_nats::Client,
    messages: Option<ReadyChunks<Messages>>,
    poll_at: Instant,
    /// Not before then are the stream's messages taken again.
    listen_at: Instant,
    /// The last page of the event store was a full one.
    behind: bool,
}

impl Feed {
    pub fn new(event_store: PgPool, nats: async_nats::Client) -> Self {
        Self { event_store, nats, messages: None, poll_at: Instant::now(), listen_at: Instant::now(), behind: false }
    }

    /// Waits, bounded, for events after a position. They follow it without a hole.
    pub async fn next(&mut self, after: Position) -> Result<Next, ReadError> {
        let Some(delivered) = self.delivered(after).await else {
            let next = read_store(&self.event_store, after).await?;
            self.behind = !next.at_end;
            return Ok(next);
        };
        Ok(Next { events: delivered, at_end: false })
    }

    /// What the stream delivers; `None` when the event store is to be asked.
    async fn delivered(&mut self, after: Position) -> Option<Vec<RecordedEvent>> {
        if self.behind {
            return None; // neither wait nor listen before the store has been read to its end
        }
        let Some(messages) = &mut self.messages else {
            // The store is read after the subscription, so that nothing falls between the two.
            sleep_until(self.poll_at).await;
            self.poll_at = Instant::now() + POLL_INTERVAL;
            self.subscribe(after).await;
            return None;
        };
        sleep_until(self.listen_at).await;
        // Unconstrained, as tokio would otherwise cut every chunk off at its budget of 128 messages.
        let chunk = timeout(RESCUE_INTERVAL, unconstrained(messages.next())).await.ok()?;
        // Whoever lags behind hurries.
        let full = chunk.as_ref().is_some_and(|chunk| chunk.len() == MAX_BATCH);
        self.listen_at = Instant::now() + if full { Duration::ZERO } else { PACE };
        match chunk.map(|chunk| contiguous(after, chunk)) {
            Some(Ok(events)) => return Some(events),
            Some(Err(Unfollowable::Lost(_))) | None => self.lose_stream(),
            Some(Err(reason)) => {
                debug!(%reason, position = after.get(), "The stream cannot be followed; reading the event store");
            }
        }
        None
    }

    fn lose_stream(&mut self) {
        if self.messages.take().is_some() {
            warn!("The stream is lost; following the event store until it is back");
        }
    }

    /// Only when connected: the event store must not wait for NATS.
    async fn subscribe(&mut self, after: Position) {
        if self.nats.connection_state() != State::Connected {
            return;
        }
        let subscribed = timeout(SUBSCRIBE_TIMEOUT, messages(self.nats.clone(), &self.event_store, after)).await;
        match subscribed.map_err(Into::into).flatten() {
            Ok(messages) => self.messages = Some(messages.ready_chunks(MAX_BATCH)),
            Err(error) => debug!(%error, "There is no stream to follow yet"),
        }
    }
}

async fn read_store(event_store: &PgPool, after: Position) -> Result<Next, ReadError> {
    let events = event_log::read_after(event_store, after, MAX_BATCH).await?;
    if events.is_empty() {
        let end = event_log::head(event_store).await?;
        if end < after {
            return Err(ReadError::CutOff { end, after });
        }
    }
    let at_end = events.len() < MAX_BATCH;
    Ok(Next { events, at_end })
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
        inactive_threshold: FORGOTTEN_AFTER,
        ..pull::Config::default()
    };
    let stream = jetstream::new(nats).get_stream(STREAM).await?;
    if !holds_log(&stream, event_store).await? {
        return Err("the stream holds other events than the log".into());
    }
    let consumer = stream.create_consumer(config).await?;
    let messages = consumer.stream().max_messages_per_batch(ASKED_FOR).heartbeat(HEARTBEAT).messages().await?;
    Ok(Box::pin(messages.map(|message| message.map_err(Into::into))))
}

/// Why a chunk of the stream is of no use.
#[derive(Debug, thiserror::Error)]
enum Unfollowable {
    #[error("the stream failed: {0}")]
    Lost(async_nats::Error),
    #[error("not an event of the log: {0}")]
    NotAnEvent(#[from] cloud_event::ParseError),
    #[error("position {found} follows, {expected} was expected")]
    Gap { expected: Position, found: Position },
}

/// The events of a chunk that are new, if they follow the position without a hole.
fn contiguous(
    after: Position,
    chunk: Vec<Result<Message, async_nats::Error>>,
) -> Result<Vec<RecordedEvent>, Unfollowable> {
    let mut events = Vec::with_capacity(chunk.len());
    let mut last = after;
    for message in chunk {
        let message = message.map_err(Unfollowable::Lost)?;
        let event = RecordedEvent::from(CloudEvent::parse(&message.payload)?);
        if event.position <= last {
            continue; // delivered before
        }
        if event.position != last.next() {
            return Err(Unfollowable::Gap { expected: last.next(), found: event.position });
        }
        last = event.position;
        events.push(event);
    }
    Ok(events)
}
