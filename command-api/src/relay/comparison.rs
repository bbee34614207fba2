//! Compares the stream with the log: how many messages it holds, and each of them, in the background.

use std::time::Duration;

use async_nats::jetstream::{
    Message,
    consumer::{AckPolicy, DeliverPolicy, pull},
    stream::{Info, Stream},
};
use contract::{cloud_event::CloudEvent, position::Position};
use futures::StreamExt;
use runtime::nats::is_event;
use sqlx::PgPool;
use tokio::time::Instant;

/// Messages per comparison: a million messages take a quarter of an hour, at a tenth of a percent of a core.
const CHUNK_MESSAGES: u16 = 1000;
/// Minimum interval between two comparisons. Relays that meet on the stream read its end many times per second.
const CHUNK_INTERVAL: Duration = Duration::from_secs(1);
/// Pause after all messages were compared.
const PASS_INTERVAL: Duration = Duration::from_mins(10);
/// When the server removes a consumer that was left behind.
const INACTIVE_THRESHOLD: Duration = Duration::from_secs(10);

/// How many messages the stream lacks, from within it and at its beginning: a damaged file costs either. `head` has to be read after the
/// stream. Limits that the relay does not set may remove messages from the beginning.
pub fn missing_messages(stream: &Info, head: Position) -> u64 {
    let (state, config) = (&stream.state, &stream.config);
    let within = state.deleted_count.unwrap_or_default();
    if config.max_bytes > 0 || !config.max_age.is_zero() {
        return within;
    }
    let kept = if config.max_messages > 0 { config.max_messages } else { i64::MAX };
    let first = Position::START.plus((head.get() - kept).max(0)).next();
    within + state.first_sequence.saturating_sub(first.as_sequence())
}

/// The comparison of all messages, a chunk at a time.
#[derive(Debug)]
pub struct Comparison {
    after: Position,
    due_at: Instant,
}

impl Comparison {
    pub fn start() -> Self {
        Self { after: Position::START, due_at: Instant::now() }
    }

    /// Compares the next messages. Returns the position of the first one that is not the log's event.
    pub async fn next_difference(
        &mut self,
        stream: &Stream,
        event_store: &PgPool,
    ) -> Result<Option<Position>, async_nats::Error> {
        if Instant::now() < self.due_at {
            return Ok(None);
        }
        let state = &stream.cached_info().state;
        let before_first = Position::from_sequence(state.first_sequence.saturating_sub(1));
        let after = self.after.max(before_first);
        if state.messages == 0 || after.as_sequence() >= state.last_sequence {
            *self = Self { after: Position::START, due_at: Instant::now() + PASS_INTERVAL };
            return Ok(None);
        }
        self.due_at = Instant::now() + CHUNK_INTERVAL;
        let messages = fetch(stream, after.next()).await?;
        let events = event_log::read_after(event_store, after, CHUNK_MESSAGES.into()).await?;
        let until = after.plus(CHUNK_MESSAGES.into());
        // Messages may be missing, events are not.
        for (position, message) in messages.iter().take_while(|(position, _)| *position <= until) {
            let stored = usize::try_from(position.get() - after.get() - 1).ok().and_then(|offset| events.get(offset));
            let published = CloudEvent::parse(&message.payload).ok();
            if !published.zip(stored).is_some_and(|(published, stored)| is_event(&published, stored)) {
                return Ok(Some(*position));
            }
        }
        let compared = messages.last().map_or(state.last_sequence, |(position, _)| position.as_sequence());
        self.after = Position::from_sequence(compared).min(until);
        Ok(None)
    }
}

/// The messages from a position on, as far as the stream holds them now.
async fn fetch(stream: &Stream, from: Position) -> Result<Vec<(Position, Message)>, async_nats::Error> {
    let config = pull::Config {
        deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: from.as_sequence() },
        ack_policy: AckPolicy::None,
        memory_storage: true,
        num_replicas: 1,
        inactive_threshold: INACTIVE_THRESHOLD,
        ..pull::Config::default()
    };
    let consumer = stream.create_consumer(config).await?;
    let mut batch = consumer.fetch().max_messages(CHUNK_MESSAGES.into()).messages().await?;
    let mut messages = Vec::new();
    while let Some(message) = batch.next().await {
        let message = message?;
        messages.push((Position::from_sequence(message.info()?.stream_sequence), message));
    }
    // Otherwise the server removes it.
    let _ = stream.delete_consumer(&consumer.cached_info().name).await;
    Ok(messages)
}
