//! Checkpoints outside the database: in a file of each projector, and on NATS ([`on_nats`]).

use std::{
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_nats::{Client, connection::State};
use event_log::transparency::signed_checkpoint::{Checkpoint, NotACheckpoint, VerifyingKey, append_note, split_notes};
use runtime::nats;
use tokio::{
    sync::watch,
    task::spawn_blocking,
    time::{sleep, timeout},
};

use super::on_nats::{self, newest_on_nats};

/// Bytes at the end of the file that are searched for the last checkpoint, which has some 200.
const TAIL: u64 = 64 * 1024;
/// How long the first query waits for the connection to NATS, which takes milliseconds unless the server is still starting.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
const POLL_INTERVAL: Duration = Duration::from_millis(20);

#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("the checkpoint file {} cannot be used: {source}", .file.display())]
    File { file: PathBuf, source: io::Error },
    #[error("the last checkpoint in {} was signed with another key ({source}); a new key needs a new file", .file.display())]
    OtherKey { file: PathBuf, source: NotACheckpoint },
    #[error("{} contains something other than checkpoints; it is not changed", .file.display())]
    Foreign { file: PathBuf },
}

/// The newest checkpoints outside of the database.
pub struct Newest {
    /// In the file and on NATS, in the order of their positions.
    pub checkpoints: Vec<Checkpoint>,
    /// Whether NATS has responded, with a checkpoint or without one.
    pub nats_answered: bool,
}

pub struct Published {
    /// One write at a time, also after the wait for an earlier one was abandoned.
    file: Arc<Mutex<File>>,
    /// The last note in the file.
    last: Option<(String, Checkpoint)>,
    key: VerifyingKey,
    nats: Client,
    streams: nats::Settings,
    waited_for_nats: bool,
    /// The note that is to be on NATS.
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

    /// The last checkpoints that this projector and, according to NATS, others have published.
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

    /// The client connects in the background, and reports that it is disconnected until then.
    async fn wait_for_nats(&self) {
        let connected = async {
            while !self.nats_is_connected() {
                sleep(POLL_INTERVAL).await;
            }
        };
        let _ = timeout(CONNECT_TIMEOUT, connected).await;
    }

    /// Returns when the note is on disk.
    pub async fn publish(&mut self, note: &str) -> io::Result<()> {
        let (file, text) = (Arc::clone(&self.file), note.to_owned());
        let write = move || append_note(&file.lock().unwrap_or_else(PoisonError::into_inner), &text);
        spawn_blocking(write).await.map_err(io::Error::other)??;
        self.last = self.key.open(note).ok().map(|checkpoint| (note.to_owned(), checkpoint));
        Ok(())
    }

    /// Publishes the last note in the file on NATS, too. Only after the note on NATS was compared, as this one hides it.
    pub fn forward(&self) {
        let note = self.last.as_ref().map(|(note, _)| note);
        self.for_nats.send_if_modified(|current| {
            let changed = current.as_ref() != note;
            *current = note.cloned();
            changed
        });
    }

    /// The task that publishes forwarded notes on NATS.
    pub fn publisher(&self) -> on_nats::Publisher {
        on_nats::Publisher::new(self.nats.clone(), self.key.clone(), self.streams, self.for_nats.subscribe())
    }
}

/// Opens the file for appending, and finds its last note. A partial note at its end is removed: it was never published. Returns
/// `None` if the file contains something else.
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
    // Before the first line break there may be the rest of a line.
    let first_line = if start == 0 { 0 } else { tail.iter().position(|byte| *byte == b'\n').map_or(0, |at| at + 1) };
    let tail = &tail[first_line..];
    let text = match str::from_utf8(tail) {
        Ok(text) => text,
        Err(error) => str::from_utf8(&tail[..error.valid_up_to()]).unwrap_or_default(),
    };
    let last = split_notes(text).last().copied();
    let whole = last.and_then(|note| Some(text.rfind(note)? + note.len())).unwrap_or(0);
    let rest = &tail[whole..];
    if !is_partial_note(rest, origin) {
        return Ok(None);
    }
    file.set_len(length - rest.len() as u64)?;
    Ok(Some((file, last.map(str::to_owned))))
}

/// Whether this is the beginning of a note. Bytes that a power failure kept from the disk are zeros.
fn is_partial_note(rest: &[u8], origin: &str) -> bool {
    let written = rest.split(|byte| *byte == 0).next().unwrap_or_default();
    let beginning = format!("{origin}\n");
    written.iter().zip(beginning.as_bytes()).all(|(found, expected)| found == expected)
}
