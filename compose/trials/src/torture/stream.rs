//! Reads the stream of events, a thousand messages at a time.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Error, Result, ensure};
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use async_nats::jetstream::stream::Stream;
use chrono::{DateTime, Utc};
use futures::StreamExt;
use uuid::Uuid;

use crate::torture::readers;

const CHUNK_MESSAGES: usize = 1000;
/// When the server removes a consumer that was left behind.
const INACTIVE_THRESHOLD: Duration = Duration::from_secs(10);

/// Position, id and time of an event; `None` for anything else.
pub type Message = Option<(i64, Uuid, DateTime<Utc>)>;

/// The messages from a sequence to another one, by their sequences. Some later ones may be among them.
pub async fn read(stream: &Stream, from: u64, to: u64) -> Result<BTreeMap<u64, Message>> {
    let config = pull::Config {
        deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: from },
        ack_policy: AckPolicy::None,
        memory_storage: true,
        num_replicas: 1,
        inactive_threshold: INACTIVE_THRESHOLD,
        ..pull::Config::default()
    };
    let consumer = stream.create_consumer(config).await?;
    let mut messages = BTreeMap::new();
    while messages.last_key_value().is_none_or(|(last, _)| *last < to) {
        let before = messages.len();
        let mut chunk = consumer.fetch().max_messages(CHUNK_MESSAGES).messages().await?;
        while let Some(message) = chunk.next().await {
            let message = message.map_err(Error::from_boxed)?;
            let sequence = message.info().map_err(Error::from_boxed)?.stream_sequence;
            messages.insert(sequence, readers::event(&String::from_utf8_lossy(&message.payload)));
        }
        if messages.len() == before {
            // The others are missing, or cannot be read.
            let pending = consumer.get_info().await?.num_pending;
            ensure!(pending == 0, "the stream delivers {before} messages, and {pending} are pending");
            break;
        }
    }
    // Otherwise the server removes it.
    let _ = stream.delete_consumer(&consumer.cached_info().name).await;
    Ok(messages)
}
