//! Events that waited for their signature, for example because no projector ran, might have been changed meanwhile. NATS received
//! them right after their commit and is no database: they are compared with its messages before they are signed.

use std::time::Duration;

use async_nats::{
    Client,
    connection::State,
    jetstream::{self, stream::RawMessageErrorKind},
};
use chrono::TimeDelta;
use contract::position::Position;
use futures::{StreamExt, stream};
use runtime::nats::STREAM;
use tokio::time::timeout;

use super::error::TransparencyError;

/// An event that waited for longer is compared.
pub const COMPARED_AFTER: TimeDelta = TimeDelta::seconds(5);
/// As many events can be compared within an iteration.
pub const CHUNK_EVENTS: i64 = 10_000;
const TIMEOUT: Duration = Duration::from_secs(8);
const REQUESTS_IN_FLIGHT: usize = 200;

/// Compares lines with the messages at their positions. Returns how many messages are missing: NATS may have lost its storage, or be
/// unreachable, and signing does not depend on it.
pub async fn compare(nats: &Client, lines: Vec<(Position, Vec<u8>)>) -> Result<u64, TransparencyError> {
    let count = lines.len() as u64;
    if lines.is_empty() || nats.connection_state() != State::Connected {
        return Ok(count);
    }
    timeout(TIMEOUT, compare_with_stream(nats, lines)).await.unwrap_or(Ok(count))
}

async fn compare_with_stream(nats: &Client, lines: Vec<(Position, Vec<u8>)>) -> Result<u64, TransparencyError> {
    let count = lines.len() as u64;
    let Ok(stream) = jetstream::new(nats.clone()).get_stream(STREAM).await else { return Ok(count) };
    let stream = &stream;
    let mut found = stream::iter(lines)
        .map(async |(position, line)| (position, line, stream.get_raw_message(position.as_sequence()).await))
        .buffered(REQUESTS_IN_FLIGHT);
    let mut compared = 0;
    while let Some((position, line, message)) = found.next().await {
        match message {
            Ok(message) if message.payload == line => compared += 1,
            Ok(_) => return Err(TransparencyError::Unpublished(position)),
            Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => {}
            Err(_) => break,
        }
    }
    Ok(count - compared)
}
