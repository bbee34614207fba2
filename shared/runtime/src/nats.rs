//! The JetStream streams: names, settings, connection.

use std::{
    fmt::Display,
    future::ready,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use anyhow::Context;
use async_nats::{
    Client, ConnectOptions, Event, ServerAddr,
    jetstream::{
        message::StreamMessage,
        stream::{LastRawMessageErrorKind, PersistenceMode, RawMessageErrorKind, Stream},
    },
};
use clap::Args;
use sqlx::PgPool;
use tracing::{info, warn};

use crate::run_loop::Reported;
use contract::{cloud_event::CloudEvent, position::Position, recorded_event::RecordedEvent};

pub const STREAM: &str = "SALES_EVENTS";
pub const SUBJECTS: &str = "sales.events.>";

/// Stream of the signed checkpoints of the transparency log.
pub const CHECKPOINT_STREAM: &str = "SALES_CHECKPOINTS";
pub const CHECKPOINT_SUBJECT: &str = "sales.checkpoints";

/// An unanswered request to NATS fails after this time; the event log stays available.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);

/// Settings of the streams.
#[derive(Args, Clone, Copy, Debug)]
#[group(skip)]
pub struct Settings {
    /// Replicas of each message in newly created streams: 1, or 3 in a cluster.
    #[arg(long, env, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=5))]
    pub stream_replicas: u8,
}

impl Settings {
    /// Asynchronous persistence with one replica; JetStream does not allow it with several.
    pub fn replicas_and_persistence(self) -> (usize, Option<PersistenceMode>) {
        (self.stream_replicas.into(), (self.stream_replicas == 1).then_some(PersistenceMode::Async))
    }
}

/// The subject on which events of a type are published.
pub fn subject(event_type: &str) -> String {
    format!("sales.events.{event_type}")
}

/// Connects in the background, and reconnects: a service starts while NATS is unreachable. Logs why it is not connected.
pub async fn connect(url: &str, service: &str) -> anyhow::Result<Client> {
    let server: ServerAddr = url.parse().context("NATS_URL is not a NATS URL (nats://user:password@host:port)")?;
    let options = match (server.username(), server.password()) {
        // The client ignores credentials in the URL.
        (Some(user), Some(password)) => ConnectOptions::with_user_and_password(user.to_owned(), password.to_owned()),
        _ => ConnectOptions::new(),
    };
    let connection = service.to_owned();
    let reported = Mutex::new(Reported::default());
    options
        .name(service)
        .event_callback(move |event| {
            report(&connection, &mut reported.lock().unwrap_or_else(PoisonError::into_inner), &event);
            ready(())
        })
        .retry_on_initial_connect()
        .request_timeout(Some(REQUEST_TIMEOUT))
        .connection_timeout(REQUEST_TIMEOUT)
        .reconnect_delay_callback(|attempts| {
            Duration::from_millis(20 * 2_u64.saturating_pow(u32::try_from(attempts).unwrap_or(u32::MAX)).min(50))
        })
        .connect(server)
        .await
        .context("NATS_URL cannot be used")
}

/// Logs each reason once why the connection fails, or why the server refuses something.
fn report(connection: &str, reported: &mut Reported, event: &Event) {
    let reason: &dyn Display = match event {
        Event::Connected if reported.recovered() => {
            info!(event.name = "nats.recovered", connection, "NATS is connected");
            return;
        }
        Event::ClientError(reason) => reason,
        Event::ServerError(reason) => reason,
        _ => return,
    };
    if reported.failed(reason) {
        warn!(event.name = "nats.failed", connection, %reason, "NATS cannot be used");
    }
}

/// Whether a stream holds this log: it does not end past the log, and its newest message is the log's event at that position. That
/// message may be before the end: later ones may have been deleted, which leaves their sequences. The stream of another log, or
/// from before a restore, must be neither followed nor written. The stream's state has to be read before the log's head.
pub async fn holds_log(stream: &Stream, event_store: &PgPool) -> Result<bool, async_nats::Error> {
    let end = Position::from_sequence(stream.cached_info().state.last_sequence);
    if end > event_log::head(event_store).await? {
        return Ok(false);
    }
    let newest = match stream.get_last_raw_message_by_subject(SUBJECTS).await {
        Ok(newest) => newest,
        Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => return Ok(true),
        Err(error) => return Err(error.into()),
    };
    is_of_log(&newest, event_store).await
}

/// Whether the message at a position is the log's event there. A message that was deleted does not contradict the log.
pub async fn agrees_at(position: Position, stream: &Stream, event_store: &PgPool) -> Result<bool, async_nats::Error> {
    match stream.get_raw_message(position.as_sequence()).await {
        Ok(message) => is_of_log(&message, event_store).await,
        Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(true),
        Err(error) => Err(error.into()),
    }
}

async fn is_of_log(message: &StreamMessage, event_store: &PgPool) -> Result<bool, async_nats::Error> {
    let stored = event_log::read_at(event_store, Position::from_sequence(message.sequence)).await?;
    let published = CloudEvent::parse(&message.payload).ok();
    Ok(published.zip(stored).is_some_and(|(published, stored)| is_event(&published, &stored)))
}

/// Whether a message is an event of the log.
pub fn is_event(published: &CloudEvent<'_>, stored: &RecordedEvent) -> bool {
    published.id == stored.event_id && published.position == stored.position
}
