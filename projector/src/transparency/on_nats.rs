//! Checkpoints on NATS.

use std::{future::pending, time::Duration};

use async_nats::{
    Client,
    connection::State,
    jetstream::{
        self, ErrorCode,
        stream::{Config, DiscardPolicy, LastRawMessageErrorKind},
    },
};
use event_log::transparency::signed_checkpoint::{Checkpoint, VerifyingKey};
use runtime::{
    nats::{self, CHECKPOINT_STREAM, CHECKPOINT_SUBJECT},
    run_loop,
};
use tokio::{
    sync::watch,
    time::{error::Elapsed, timeout},
};
use tracing::{info, warn};

/// Signing waits for no longer for the last checkpoint on NATS.
const RESPONSE_TIMEOUT: Duration = Duration::from_millis(500);
/// A note that is not acknowledged by then is published again. Nothing waits for it.
const ACK_TIMEOUT: Duration = Duration::from_secs(5);
/// The stream keeps 200 MB: more than two days of continuous sales.
const STREAM_MAX_MESSAGES: i64 = 1_000_000;

/// NATS is unreachable or did not respond.
pub struct NoResponse;

/// The newest checkpoint on NATS, if it holds any.
pub async fn newest_on_nats(nats: &Client, key: &VerifyingKey) -> Result<Option<Checkpoint>, NoResponse> {
    if nats.connection_state() != State::Connected {
        return Err(NoResponse);
    }
    let last = async {
        let stream =
            jetstream::new(nats.clone()).get_stream_no_info(CHECKPOINT_STREAM).await.map_err(|_| NoResponse)?;
        match stream.get_last_raw_message_by_subject(CHECKPOINT_SUBJECT).await {
            Ok(message) => Ok(Some(message)),
            Err(error) => match error.kind() {
                LastRawMessageErrorKind::NoMessageFound => Ok(None),
                LastRawMessageErrorKind::JetStream(error) if error.error_code() == ErrorCode::STREAM_NOT_FOUND => {
                    Ok(None)
                }
                _ => Err(NoResponse),
            },
        }
    };
    let Some(message) = timeout(RESPONSE_TIMEOUT, last).await.unwrap_or(Err(NoResponse))? else { return Ok(None) };
    let note = String::from_utf8_lossy(&message.payload).into_owned();
    match key.open(&note) {
        Ok(checkpoint) => Ok(Some(checkpoint)),
        Err(reason) => {
            warn!(%reason, "The last checkpoint on NATS is not a checkpoint of this log");
            Ok(None)
        }
    }
}

/// Why a note is not on NATS.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    #[error("NATS is not connected")]
    Disconnected,
    #[error("NATS did not acknowledge the checkpoint in time")]
    TimedOut(#[from] Elapsed),
    #[error(transparent)]
    Nats(#[from] async_nats::Error),
}

/// Publishes notes on NATS. If they arrive faster than NATS acknowledges them, or while it is unreachable, it receives the newest:
/// the file has all of them.
pub struct Publisher {
    nats: Client,
    key: VerifyingKey,
    streams: nats::Settings,
    notes: watch::Receiver<Option<String>>,
    /// The newest note may not be on NATS.
    pending: bool,
    /// The stream was found or created, and has responded ever since.
    stream_exists: bool,
}

impl Publisher {
    pub fn new(
        nats: Client,
        key: VerifyingKey,
        streams: nats::Settings,
        notes: watch::Receiver<Option<String>>,
    ) -> Self {
        Self { nats, key, streams, notes, pending: true, stream_exists: false }
    }

    async fn publish(&mut self, note: &str) -> Result<(), async_nats::Error> {
        let jetstream = jetstream::new(self.nats.clone());
        if !self.stream_exists {
            let config = Config {
                name: CHECKPOINT_STREAM.to_owned(),
                description: Some("Signed checkpoints of the transparency log over the event log".to_owned()),
                subjects: vec![CHECKPOINT_SUBJECT.to_owned()],
                max_messages: STREAM_MAX_MESSAGES,
                discard: DiscardPolicy::Old,
                num_replicas: self.streams.stream_replicas.into(),
                ..Config::default()
            };
            jetstream.get_or_create_stream(config).await?;
            self.stream_exists = true;
            // After an outage or a start the stream may hold this note already, or a newer one by another projector: it stays the last.
            let last = newest_on_nats(&self.nats, &self.key).await.ok().flatten();
            let position = self.key.open(note)?.position;
            if last.is_some_and(|last| last.position >= position) {
                return Ok(());
            }
        }
        jetstream.publish(CHECKPOINT_SUBJECT, note.to_owned().into()).await?.await?;
        Ok(())
    }
}

impl run_loop::Step for Publisher {
    type Error = PublishError;

    async fn due(&mut self) {
        if !self.pending && self.notes.changed().await.is_err() {
            pending::<()>().await; // the sender is gone, and there are no more notes
        }
    }

    async fn step(&mut self) -> Result<(), PublishError> {
        self.pending = true;
        let note = self.notes.borrow_and_update().clone();
        if let Some(note) = note {
            if self.nats.connection_state() != State::Connected {
                return Err(PublishError::Disconnected);
            }
            timeout(ACK_TIMEOUT, self.publish(&note)).await??;
        }
        self.pending = false;
        Ok(())
    }

    async fn observe(&mut self, outcome: Result<(), &PublishError>) {
        self.stream_exists &= outcome.is_ok();
    }

    fn is_routine(&self, error: &PublishError) -> bool {
        matches!(error, PublishError::Disconnected)
    }

    fn report(&self, failure: Option<&PublishError>) {
        if let Some(error) = failure {
            warn!(%error, "Checkpoints cannot be published on NATS; retrying");
        } else {
            info!("Checkpoints are published on NATS again");
        }
    }
}
