//! Checkpoints on NATS.

use std::{future::pending, time::Duration};

use async_nats::{
    Client,
    connection::State,
    jetstream::{
        self, ErrorCode,
        context::GetStreamErrorKind,
        stream::{Config, DiscardPolicy, RawMessageErrorKind},
    },
};
use event_log::transparency::signed_checkpoint::VerifyingKey;
use futures::{StreamExt, TryStreamExt, stream};
use runtime::{
    nats::{self, CHECKPOINT_STREAM, CHECKPOINT_SUBJECT},
    run_loop,
};
use tokio::{
    sync::watch,
    time::{error::Elapsed, timeout},
};
use tracing::{info, warn};

use super::notes::{SignedNote, highest, statements};

/// Signing waits for no longer for the notes on NATS.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(2);
/// A note that is not acknowledged by then is published again. Nothing waits for it.
const ACK_TIMEOUT: Duration = Duration::from_secs(5);
/// The stream keeps the newest notes, and a projector reads all of them when it starts. Streams of earlier versions are larger; as many of
/// their newest notes are read.
const STREAM_MAX_MESSAGES: u64 = 2000;
const REQUESTS_IN_FLIGHT: usize = 100;

/// What is to be on NATS.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ForNats {
    pub statements: Vec<String>,
    pub checkpoint: Option<String>,
}

/// NATS is unreachable or did not respond.
#[derive(Debug)]
pub struct NoResponse;

/// The notes of this log on NATS. Other messages are skipped, and reported.
pub async fn notes(nats: &Client, key: &VerifyingKey) -> Result<Vec<SignedNote>, NoResponse> {
    if nats.connection_state() != State::Connected {
        return Err(NoResponse);
    }
    timeout(RESPONSE_TIMEOUT, read(nats, key)).await.unwrap_or(Err(NoResponse))
}

async fn read(nats: &Client, key: &VerifyingKey) -> Result<Vec<SignedNote>, NoResponse> {
    let stream = match jetstream::new(nats.clone()).get_stream(CHECKPOINT_STREAM).await {
        Ok(stream) => stream,
        Err(error) => match error.kind() {
            GetStreamErrorKind::JetStream(error) if error.error_code() == ErrorCode::STREAM_NOT_FOUND => {
                return Ok(Vec::new());
            }
            _ => return Err(NoResponse),
        },
    };
    let state = &stream.cached_info().state;
    let first = state.first_sequence.max((state.last_sequence + 1).saturating_sub(STREAM_MAX_MESSAGES)).max(1);
    let messages = stream::iter(first..=state.last_sequence)
        .map(|sequence| stream.get_raw_message(sequence))
        .buffered(REQUESTS_IN_FLIGHT)
        .map(|message| match message {
            Ok(message) => Ok(Some(message.payload)),
            Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(None),
            Err(_) => Err(NoResponse),
        });
    let messages: Vec<_> = messages.try_collect().await?;
    let mut notes = Vec::new();
    let mut foreign = None;
    for message in messages.into_iter().flatten() {
        match SignedNote::open(&String::from_utf8_lossy(&message), key) {
            Ok(note) => notes.push(note),
            Err(reason) => foreign = Some(reason),
        }
    }
    if let Some(reason) = foreign {
        warn!(%reason, "The stream of checkpoints on NATS contains something other than notes of this log");
    }
    Ok(notes)
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
    notes: watch::Receiver<ForNats>,
    /// The newest note may not be on NATS.
    pending: bool,
    /// The stream was found or created, and has responded ever since.
    stream_exists: bool,
    /// How many statements are on NATS.
    statements: usize,
}

impl Publisher {
    pub fn new(nats: Client, key: VerifyingKey, streams: nats::Settings, notes: watch::Receiver<ForNats>) -> Self {
        Self { nats, key, streams, notes, pending: true, stream_exists: false, statements: 0 }
    }

    async fn publish(&mut self, notes: &ForNats) -> Result<(), async_nats::Error> {
        let jetstream = jetstream::new(self.nats.clone());
        if !self.stream_exists {
            let config = Config {
                name: CHECKPOINT_STREAM.to_owned(),
                description: Some("Signed checkpoints of the transparency log over the event log".to_owned()),
                subjects: vec![CHECKPOINT_SUBJECT.to_owned()],
                max_messages: STREAM_MAX_MESSAGES.cast_signed(),
                discard: DiscardPolicy::Old,
                num_replicas: self.streams.stream_replicas.into(),
                ..Config::default()
            };
            jetstream.get_or_create_stream(config).await?;
        }
        if !self.stream_exists || self.statements != notes.statements.len() {
            // After an outage or a start the stream may hold these notes already, or a newer one by another projector: it stays the last.
            let found = read(&self.nats, &self.key).await.unwrap_or_default();
            for statement in &notes.statements {
                if !found.iter().any(|note| note.text == *statement) {
                    jetstream.publish(CHECKPOINT_SUBJECT, statement.clone().into()).await?.await?;
                }
            }
            (self.stream_exists, self.statements) = (true, notes.statements.len());
            let position = |note: &SignedNote| note.checkpoint().map(|checkpoint| checkpoint.position);
            let of_log = |note: &String| SignedNote::open(note, &self.key).ok();
            let statements = statements(&notes.statements.iter().filter_map(of_log).collect::<Vec<_>>());
            let next = notes.checkpoint.as_ref().and_then(of_log);
            if highest(&found, &statements).and_then(position) >= next.as_ref().and_then(position) {
                return Ok(());
            }
        }
        let Some(note) = &notes.checkpoint else { return Ok(()) };
        jetstream.publish(CHECKPOINT_SUBJECT, note.clone().into()).await?.await?;
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
        let notes = self.notes.borrow_and_update().clone();
        if notes != ForNats::default() {
            if self.nats.connection_state() != State::Connected {
                return Err(PublishError::Disconnected);
            }
            timeout(ACK_TIMEOUT, self.publish(&notes)).await??;
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
