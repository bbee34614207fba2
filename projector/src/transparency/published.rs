//! Checkpoints outside the database: in a file of each projector, and on NATS ([`on_nats`]).

use std::{
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use async_nats::{Client, connection::State};
use event_log::transparency::signed_checkpoint::{Checkpoint, NotACheckpoint, VerifyingKey, append_note, split_notes};
use runtime::nats;
use tokio::{
    sync::{Mutex, watch},
    task::spawn_blocking,
    time::{sleep, timeout},
};

use super::on_nats::{self, newest_on_nats};

/// Bytes at the end of the file that are searched for the last checkpoint, which has some 200.
const TAIL: u64 = 64 * 1024;
/// Bytes of foreign content that an error quotes.
const EXCERPT: usize = 60;
/// How long the first query waits for the connection to NATS, which takes milliseconds unless the server is still starting.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
const POLL_INTERVAL: Duration = Duration::from_millis(20);

#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("the checkpoint file {} cannot be used: {source}", .file.display())]
    File { file: PathBuf, source: io::Error },
    #[error("the last checkpoint in {} was signed with another key ({source}); a new key needs a new file", .file.display())]
    OtherKey { file: PathBuf, source: NotACheckpoint },
    #[error("{} contains something other than checkpoints at byte {offset}: {excerpt:?}; it is not changed", .file.display())]
    Foreign { file: PathBuf, offset: u64, excerpt: String },
}

/// The newest checkpoints outside of the database.
pub struct Newest {
    /// In the file and on NATS, in the order of their positions.
    pub checkpoints: Vec<Checkpoint>,
    /// Whether NATS has responded, with a checkpoint or without one.
    pub nats_answered: bool,
}

pub struct Published {
    path: PathBuf,
    /// One access at a time, also after the wait for an earlier one was abandoned.
    file: Arc<Mutex<Option<File>>>,
    /// The file was opened, and `last` is known.
    is_open: bool,
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
    pub fn new(path: PathBuf, key: VerifyingKey, nats: Client, streams: nats::Settings) -> Self {
        let (file, for_nats) = (Arc::new(Mutex::new(None)), watch::Sender::new(None));
        Self { path, file, is_open: false, last: None, key, nats, streams, waited_for_nats: false, for_nats }
    }

    /// The last checkpoints that this projector and, according to NATS, others have published. A file that cannot be opened is
    /// tried again by the next call, so that signing resumes once it is repaired.
    pub async fn newest(&mut self) -> Result<Newest, OpenError> {
        if !self.is_open {
            self.last = self.open().await?;
            self.is_open = true;
        }
        if !self.waited_for_nats {
            self.waited_for_nats = true;
            self.wait_for_nats().await;
        }
        let on_nats = newest_on_nats(&self.nats, &self.key).await;
        let nats_answered = on_nats.is_ok();
        let in_file = self.last.as_ref().map(|(_, checkpoint)| checkpoint.clone());
        let mut checkpoints: Vec<_> = in_file.into_iter().chain(on_nats.ok().flatten()).collect();
        checkpoints.sort_by_key(|checkpoint| checkpoint.position);
        Ok(Newest { checkpoints, nats_answered })
    }

    /// Opens the file. Returns its last note.
    async fn open(&self) -> Result<Option<(String, Checkpoint)>, OpenError> {
        // The lock is taken before a thread is: a file system that does not respond takes one thread, not one per attempt.
        let mut file = Arc::clone(&self.file).lock_owned().await;
        let (path, key) = (self.path.clone(), self.key.clone());
        let open = move || {
            let (opened, last) = open(&path, &key)?;
            *file = Some(opened);
            Ok(last)
        };
        let failed = |error| OpenError::File { file: self.path.clone(), source: io::Error::other(error) };
        spawn_blocking(open).await.map_err(failed)?
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
        let (file, text) = (Arc::clone(&self.file).lock_owned().await, note.to_owned());
        let write = move || append_note(file.as_ref().ok_or(io::ErrorKind::NotFound)?, &text);
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

/// Opens the file for appending, and finds its last note. A partial note at its end is removed: it was never published. A file
/// that ends with anything else is not changed.
fn open(path: &Path, key: &VerifyingKey) -> Result<(File, Option<(String, Checkpoint)>), OpenError> {
    let failed = |source| OpenError::File { file: path.to_owned(), source };
    let (file, length, tail) = read_tail(path).map_err(failed)?;
    let foreign = |at: usize| OpenError::Foreign {
        file: path.to_owned(),
        offset: length - (tail.len() - at) as u64,
        excerpt: String::from_utf8_lossy(&tail[at..tail.len().min(at + EXCERPT)]).into_owned(),
    };
    let text = match str::from_utf8(&tail) {
        Ok(text) => text,
        Err(error) => str::from_utf8(&tail[..error.valid_up_to()]).unwrap_or_default(),
    };
    let notes = split_notes(text);
    let whole = notes.iter().map(|note| note.len()).sum();
    let last = match notes.last() {
        Some(note) => match key.open(note) {
            Ok(checkpoint) => Some(((*note).to_owned(), checkpoint)),
            Err(source @ NotACheckpoint::Unsigned(_)) => {
                return Err(OpenError::OtherKey { file: path.to_owned(), source });
            }
            Err(_) => return Err(foreign(whole - note.len())),
        },
        None => None,
    };
    let rest = &tail[whole..];
    if !is_partial_note(rest, key.origin()) {
        return Err(foreign(whole));
    }
    file.set_len(length - rest.len() as u64).map_err(failed)?;
    Ok((file, last))
}

/// The file, its length, and its last lines.
fn read_tail(path: &Path) -> io::Result<(File, u64, Vec<u8>)> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut file = File::options().create(true).read(true).append(true).open(path)?;
    let length = file.metadata()?.len();
    let start = length.saturating_sub(TAIL);
    file.seek(SeekFrom::Start(start))?;
    let mut tail = Vec::new();
    Read::by_ref(&mut file).take(length - start).read_to_end(&mut tail)?;
    if start > 0 {
        // Before the first line break there may be the rest of a line.
        let first_line = tail.iter().position(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        tail.drain(..first_line);
    }
    Ok((file, length, tail))
}

/// Whether this is the beginning of a note: three lines, an empty one, and a signature without its line break. Bytes that a power
/// failure kept from the disk are zeros.
fn is_partial_note(rest: &[u8], origin: &str) -> bool {
    let written = rest.split(|byte| *byte == 0).next().unwrap_or_default();
    let begins =
        |text: &[u8], expected: &str| text.iter().zip(expected.as_bytes()).all(|(found, expected)| found == expected);
    let signature = written.splitn(5, |byte| *byte == b'\n').nth(4).unwrap_or_default();
    begins(written, &format!("{origin}\n")) && begins(signature, &format!("— {origin} ")) && !signature.contains(&b'\n')
}
