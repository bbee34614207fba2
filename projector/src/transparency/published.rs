//! Checkpoints outside of the database: in a file of their own, and on NATS.

use std::{
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use async_nats::{
    Client,
    connection::State,
    jetstream::{
        self,
        stream::{Config, DiscardPolicy},
    },
};
use shared::{
    checkpoint::{Checkpoint, NotACheckpoint, VerifyingKey, split_notes},
    stream::{self, CHECKPOINT_STREAM, CHECKPOINT_SUBJECT},
};
use tokio::{task::spawn_blocking, time::timeout};
use tracing::warn;

/// The end of the file that is looked at for the last checkpoint; one has some 200 bytes.
const TAIL: u64 = 64 * 1024;
/// Signing does not wait longer for NATS: the file has the checkpoint, and the next one says more.
const NATS_LIMIT: Duration = Duration::from_millis(500);
/// Kept on NATS: 200 MB, and more than two days of selling without a pause.
const KEPT: i64 = 1_000_000;

#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("the file of checkpoints {} cannot be used: {source}", .file.display())]
    File { file: PathBuf, source: io::Error },
    #[error("the last checkpoint in {} was signed with another key ({source}); a new key needs a new file", .file.display())]
    OtherKey { file: PathBuf, source: NotACheckpoint },
}

pub struct Published {
    file: Arc<File>,
    last_in_file: Option<Checkpoint>,
    key: VerifyingKey,
    nats: Client,
    streams: stream::Settings,
    /// The newest note, while it could not be published there.
    not_on_nats: Option<String>,
    /// The stream was seen, or made, and has answered ever since.
    stream_exists: bool,
}

impl Published {
    pub fn open(path: &Path, key: VerifyingKey, nats: Client, streams: stream::Settings) -> Result<Self, OpenError> {
        let (file, last) = open(path).map_err(|source| OpenError::File { file: path.to_owned(), source })?;
        let last_in_file = last
            .map(|note| key.open(&note))
            .transpose()
            .map_err(|source| OpenError::OtherKey { file: path.to_owned(), source })?;
        Ok(Self { file: Arc::new(file), last_in_file, key, nats, streams, not_on_nats: None, stream_exists: false })
    }

    /// The newest checkpoint that this projector or, as far as NATS knows, another one has published.
    pub async fn newest(&self) -> Option<Checkpoint> {
        let on_nats = self.newest_on_nats().await;
        [self.last_in_file.clone(), on_nats].into_iter().flatten().max_by_key(|checkpoint| checkpoint.position)
    }

    async fn newest_on_nats(&self) -> Option<Checkpoint> {
        if self.nats.connection_state() != State::Connected {
            return None;
        }
        let last = async {
            let stream = jetstream::new(self.nats.clone()).get_stream(CHECKPOINT_STREAM).await.ok()?;
            stream.get_last_raw_message_by_subject(CHECKPOINT_SUBJECT).await.ok()
        };
        let message = timeout(NATS_LIMIT, last).await.ok()??;
        let note = String::from_utf8_lossy(&message.payload).into_owned();
        match self.key.open(&note) {
            Ok(checkpoint) => Some(checkpoint),
            Err(reason) => {
                warn!(%reason, "The last checkpoint on NATS is not one of ours");
                None
            }
        }
    }

    /// Returns when the note is on disk. It is on NATS as well then, unless that is away.
    pub async fn publish(&mut self, note: &str) -> io::Result<()> {
        let (file, bytes) = (Arc::clone(&self.file), note.as_bytes().to_vec());
        let write = move || {
            let mut file: &File = &file;
            file.write_all(&bytes)?;
            file.sync_data()
        };
        spawn_blocking(write).await.map_err(io::Error::other)??;
        self.last_in_file = self.key.open(note).ok();
        self.not_on_nats = Some(note.to_owned());
        self.catch_up_on_nats().await;
        Ok(())
    }

    /// Publishes the newest note on NATS unless it is there; those before it are in the file.
    pub async fn catch_up_on_nats(&mut self) {
        let Some(note) = self.not_on_nats.take() else { return };
        if self.nats.connection_state() == State::Connected {
            match timeout(NATS_LIMIT, self.publish_on_nats(&note)).await {
                Ok(Ok(())) => return,
                Ok(Err(error)) => warn!(%error, "A checkpoint cannot be published on NATS; trying again"),
                Err(_) => warn!("A checkpoint is not acknowledged by NATS; trying again"),
            }
        }
        self.stream_exists = false;
        self.not_on_nats = Some(note);
    }

    async fn publish_on_nats(&mut self, note: &str) -> Result<(), async_nats::Error> {
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
        }
        jetstream.publish(CHECKPOINT_SUBJECT, note.to_owned().into()).await?.await?;
        Ok(())
    }
}

/// Opens the file for appending, and finds its last note. Half a note at its end is cut off: it was never published.
fn open(path: &Path) -> io::Result<(File, Option<String>)> {
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
    let text = match str::from_utf8(&tail[first_line..]) {
        Ok(text) => text,
        Err(error) => str::from_utf8(&tail[first_line..][..error.valid_up_to()]).unwrap_or_default(),
    };
    let last = split_notes(text).last().copied();
    let whole = last.and_then(|note| Some(text.rfind(note)? + note.len())).unwrap_or(0);
    file.set_len(length - (tail.len() - first_line - whole) as u64)?;
    Ok((file, last.map(str::to_owned)))
}
