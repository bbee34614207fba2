//! Checkpoints outside of the database: in a file of their own, and on NATS.

use std::{
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_nats::{
    Client,
    connection::State,
    jetstream::{
        self, ErrorCode,
        stream::{Config, DiscardPolicy, LastRawMessageErrorKind},
    },
};
use event_log::transparency::signed_checkpoint::{Checkpoint, NotACheckpoint, VerifyingKey, append_note, split_notes};
use runtime::{
    backoff::Backoff,
    nats::{self, CHECKPOINT_STREAM, CHECKPOINT_SUBJECT},
};
use tokio::{
    sync::watch,
    task::spawn_blocking,
    time::{sleep, timeout},
};
use tracing::warn;

/// The end of the file that is looked at for the last checkpoint; one has some 200 bytes.
const TAIL: u64 = 64 * 1024;
/// How long the first look at NATS waits for the connection: one takes milliseconds, and a server that starts meanwhile is there by then.
const CONNECTED_WITHIN: Duration = Duration::from_secs(1);
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// Signing does not wait longer for what NATS holds.
const ANSWER_LIMIT: Duration = Duration::from_millis(500);
/// A note that is not acknowledged by then is published again. Nobody waits for it.
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_secs(5);
/// Kept on NATS: 200 MB, and more than two days of selling without a pause.
const KEPT: i64 = 1_000_000;

#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("the file of checkpoints {} cannot be used: {source}", .file.display())]
    File { file: PathBuf, source: io::Error },
    #[error("the last checkpoint in {} was signed with another key ({source}); a new key needs a new file", .file.display())]
    OtherKey { file: PathBuf, source: NotACheckpoint },
    #[error("{} holds something else than checkpoints, and is left alone", .file.display())]
    Foreign { file: PathBuf },
}

/// The newest checkpoints outside of the database.
pub struct Newest {
    /// In the file and on NATS, the older one first.
    pub checkpoints: Vec<Checkpoint>,
    /// Whether NATS has said what it holds, be it nothing.
    pub nats_answered: bool,
}

pub struct Published {
    /// One writes at a time, also when nobody waits for an earlier one any more.
    file: Arc<Mutex<File>>,
    /// The last note in the file.
    last: Option<(String, Checkpoint)>,
    key: VerifyingKey,
    nats: Client,
    streams: nats::Settings,
    waited_for_nats: bool,
    /// What is to be on NATS.
    for_nats: watch::Sender<Option<String>>,
}

impl Published {
    pub fn open(path: &Path, key: VerifyingKey, nats: Client, streams: nats::Settings) -> Result<Self, OpenError> {
        let opened = open(path, key.origin()).map_err(|source| OpenError::File { file: path.to_owned(), source })?;
        let (file, last) = opened.ok_or_else(|| OpenError::Foreign { file: path.to_owned() })?;
        let last = last
            .map(|note| key.open(&note).map(|checkpoint| (note, checkpoint)))
            .transpose()
            .map_err(|source| OpenError::OtherKey { file: path.to_owned(), source })?;
        let (file, for_nats) = (Arc::new(Mutex::new(file)), watch::Sender::new(None));
        Ok(Self { file, last, key, nats, streams, waited_for_nats: false, for_nats })
    }

    /// What this projector and, as far as NATS knows, others have published last.
    pub async fn newest(&mut self) -> Newest {
        if !self.waited_for_nats {
            self.waited_for_nats = true;
            self.wait_for_nats().await;
        }
        let on_nats = newest_on_nats(&self.nats, &self.key).await;
        let nats_answered = on_nats.is_ok();
        let in_file = self.last.as_ref().map(|(_, checkpoint)| checkpoint.clone());
        let mut checkpoints: Vec<_> = in_file.into_iter().chain(on_nats.ok().flatten()).collect();
        checkpoints.sort_by_key(|checkpoint| checkpoint.position);
        Newest { checkpoints, nats_answered }
    }

    pub fn nats_is_connected(&self) -> bool {
        self.nats.connection_state() == State::Connected
    }

    /// The client connects in the background, and says that it is not connected until then.
    async fn wait_for_nats(&self) {
        let connected = async {
            while !self.nats_is_connected() {
                sleep(LOOK_AGAIN).await;
            }
        };
        let _ = timeout(CONNECTED_WITHIN, connected).await;
    }

    /// Returns when the note is on disk.
    pub async fn publish(&mut self, note: &str) -> io::Result<()> {
        let (file, text) = (Arc::clone(&self.file), note.to_owned());
        let write = move || append_note(&file.lock().unwrap_or_else(PoisonError::into_inner), &text);
        spawn_blocking(write).await.map_err(io::Error::other)??;
        self.last = self.key.open(note).ok().map(|checkpoint| (note.to_owned(), checkpoint));
        Ok(())
    }

    /// Has the last note in the file published on NATS too. Not before what NATS held was compared: it would hide that.
    pub fn pass_on(&self) {
        let note = self.last.as_ref().map(|(note, _)| note);
        self.for_nats.send_if_modified(|given| {
            let is_news = given.as_ref() != note;
            *given = note.cloned();
            is_news
        });
    }

    /// Publishes on NATS what is passed on, for as long as this is there. Of notes that come faster than NATS takes them, or while it
    /// is away, it gets the newest: those before it are in the file.
    pub fn passing_on(&self) -> impl Future<Output = ()> + use<> {
        let (nats, key, streams) = (self.nats.clone(), self.key.clone(), self.streams);
        let mut notes = self.for_nats.subscribe();
        async move {
            let mut nats = OnNats { nats, key, streams, stream_exists: false };
            let (mut backoff, mut told) = (Backoff::default(), false);
            loop {
                let note = notes.borrow_and_update().clone();
                let published = match note {
                    Some(note) if nats.nats.connection_state() == State::Connected => nats.publish(&note).await,
                    Some(_) => Err(None),
                    None => Ok(()),
                };
                if let Err(error) = published {
                    nats.stream_exists = false;
                    if let Some(error) = error.filter(|_| !told) {
                        warn!(error, "A checkpoint cannot be published on NATS; trying again");
                        told = true;
                    }
                    backoff.wait().await;
                } else {
                    backoff.reset();
                    told = false;
                    if notes.changed().await.is_err() {
                        return;
                    }
                }
            }
        }
    }
}

/// NATS is away, or does not say what it holds.
struct NoAnswer;

/// The newest checkpoint on NATS, if it holds any.
async fn newest_on_nats(nats: &Client, key: &VerifyingKey) -> Result<Option<Checkpoint>, NoAnswer> {
    if nats.connection_state() != State::Connected {
        return Err(NoAnswer);
    }
    let last = async {
        let stream = jetstream::new(nats.clone()).get_stream_no_info(CHECKPOINT_STREAM).await.map_err(|_| NoAnswer)?;
        match stream.get_last_raw_message_by_subject(CHECKPOINT_SUBJECT).await {
            Ok(message) => Ok(Some(message)),
            Err(error) => match error.kind() {
                LastRawMessageErrorKind::NoMessageFound => Ok(None),
                LastRawMessageErrorKind::JetStream(error) if error.error_code() == ErrorCode::STREAM_NOT_FOUND => {
                    Ok(None)
                }
                _ => Err(NoAnswer),
            },
        }
    };
    let Some(message) = timeout(ANSWER_LIMIT, last).await.unwrap_or(Err(NoAnswer))? else { return Ok(None) };
    let note = String::from_utf8_lossy(&message.payload).into_owned();
    match key.open(&note) {
        Ok(checkpoint) => Ok(Some(checkpoint)),
        Err(reason) => {
            warn!(%reason, "The last checkpoint on NATS is not one of ours");
            Ok(None)
        }
    }
}

/// Where notes are published on NATS.
struct OnNats {
    nats: Client,
    key: VerifyingKey,
    streams: nats::Settings,
    /// The stream was seen, or made, and has answered ever since.
    stream_exists: bool,
}

impl OnNats {
    async fn publish(&mut self, note: &str) -> Result<(), Option<String>> {
        match timeout(ACKNOWLEDGED_WITHIN, self.try_publish(note)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(Some(error.to_string())),
            Err(_) => Err(Some("it is not acknowledged".to_owned())),
        }
    }

    async fn try_publish(&mut self, note: &str) -> Result<(), async_nats::Error> {
        let jetstream = jetstream::new(self.nats.clone());
        if !self.stream_exists {
            let config = Config {
                name: CHECKPOINT_STREAM.to_owned(),
                description: Some("Signed checkpoints of the transparency log over the event log".to_owned()),
                subjects: vec![CHECKPOINT_SUBJECT.to_owned()],
                max_messages: KEPT,
                discard: DiscardPolicy::Old,
                num_replicas: self.streams.stream_replicas.into(),
                ..Config::default()
            };
            jetstream.get_or_create_stream(config).await?;
            self.stream_exists = true;
            // After an outage or a start it may be there already, or a newer one by another projector, which is to stay the last.
            let there = newest_on_nats(&self.nats, &self.key).await.ok().flatten();
            let position = self.key.open(note)?.position;
            if there.is_some_and(|there| there.position >= position) {
                return Ok(());
            }
        }
        jetstream.publish(CHECKPOINT_SUBJECT, note.to_owned().into()).await?.await?;
        Ok(())
    }
}

/// Opens the file for appending, and finds its last note. Half a note at its end is cut off: it was never published. None if it is a
/// file of something else.
fn open(path: &Path, origin: &str) -> io::Result<Option<(File, Option<String>)>> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut file = File::options().create(true).read(true).append(true).open(path)?;
    let length = file.metadata()?.len();
    let start = length.saturating_sub(TAIL);
    file.seek(SeekFrom::Start(start))?;
    let mut tail = Vec::new();
    file.read_to_end(&mut tail)?;
    // What precedes the first line break may be the rest of a line.
    let first_line = if start == 0 { 0 } else { tail.iter().position(|byte| *byte == b'\n').map_or(0, |at| at + 1) };
    let tail = &tail[first_line..];
    let text = match str::from_utf8(tail) {
        Ok(text) => text,
        Err(error) => str::from_utf8(&tail[..error.valid_up_to()]).unwrap_or_default(),
    };
    let last = split_notes(text).last().copied();
    let whole = last.and_then(|note| Some(text.rfind(note)? + note.len())).unwrap_or(0);
    let rest = &tail[whole..];
    if !is_begun_note(rest, origin) {
        return Ok(None);
    }
    file.set_len(length - rest.len() as u64)?;
    Ok(Some((file, last.map(str::to_owned))))
}

/// Whether this is what is left of a note that was being written. Where a power failure kept its bytes from the disk, there are zeros.
fn is_begun_note(rest: &[u8], origin: &str) -> bool {
    let written = rest.split(|byte| *byte == 0).next().unwrap_or_default();
    let beginning = format!("{origin}\n");
    written.iter().zip(beginning.as_bytes()).all(|(found, expected)| found == expected)
}
