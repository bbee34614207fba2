//! Checkpoints outside the database: in a file of each projector ([`file`]), and on NATS ([`on_nats`]).

use std::{fs::File, io, path::PathBuf, sync::Arc, time::Duration};

use async_nats::{Client, connection::State};
use event_log::transparency::signed_checkpoint::{VerifyingKey, append_note};
use runtime::nats;
use tokio::{
    sync::{Mutex, watch},
    task::spawn_blocking,
    time::{sleep, timeout},
};

use super::{
    file::{self, OpenError},
    memory::Memory,
    notes::{SignedNote, highest, statements},
    on_nats::{self, ForNats},
};

/// How long the first query waits for the connection to NATS, which takes milliseconds unless the server is still starting.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// After so many new notes the file is thinned: a quarter of an hour of continuous sales.
const THIN_AFTER: usize = 4000;

pub struct Published {
    path: PathBuf,
    /// One access at a time, also after the wait for an earlier one was abandoned.
    file: Arc<Mutex<Option<File>>>,
    /// The file was opened, and `notes` are its notes.
    is_open: bool,
    notes: Vec<SignedNote>,
    /// How many of them were added since it was opened.
    appended: usize,
    key: VerifyingKey,
    nats: Client,
    streams: nats::Settings,
    waited_for_nats: bool,
    for_nats: watch::Sender<ForNats>,
}

impl Published {
    pub fn new(path: PathBuf, key: VerifyingKey, nats: Client, streams: nats::Settings) -> Self {
        let (file, for_nats) = (Arc::new(Mutex::new(None)), watch::Sender::default());
        let (is_open, notes, appended, waited_for_nats) = (false, Vec::new(), 0, false);
        Self { path, file, is_open, notes, appended, key, nats, streams, waited_for_nats, for_nats }
    }

    /// The notes in the file and those on NATS. A file that cannot be opened is tried again by the next call, so that signing resumes
    /// once it is repaired.
    pub async fn memories(&mut self) -> Result<[Memory; 2], OpenError> {
        self.open().await?;
        if !self.waited_for_nats {
            self.waited_for_nats = true;
            self.wait_for_nats().await;
        }
        let on_nats = on_nats::notes(&self.nats, &self.key).await.ok();
        let in_file = Memory { name: "the checkpoint file", notes: Some(self.notes.clone()) };
        Ok([in_file, Memory { name: "NATS", notes: on_nats }])
    }

    /// Whether the file has no note.
    pub async fn is_new(&mut self) -> Result<bool, OpenError> {
        self.open().await?;
        Ok(self.notes.is_empty())
    }

    async fn open(&mut self) -> Result<(), OpenError> {
        if !self.is_open {
            (self.notes, self.appended) = (self.read().await?, 0);
            self.is_open = true;
        }
        Ok(())
    }

    /// Opens the file. Returns its notes.
    async fn read(&self) -> Result<Vec<SignedNote>, OpenError> {
        // The lock is taken before a thread is: a file system that does not respond takes one thread, not one per attempt.
        let mut file = Arc::clone(&self.file).lock_owned().await;
        let (path, key) = (self.path.clone(), self.key.clone());
        let open = move || {
            let (opened, notes) = file::open(&path, &key)?;
            *file = Some(opened);
            Ok(notes)
        };
        let failed = |error| OpenError::File { file: self.path.clone(), source: io::Error::other(error) };
        spawn_blocking(open).await.map_err(failed)?
    }

    pub const fn nats(&self) -> &Client {
        &self.nats
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
        self.notes.extend(SignedNote::open(note, &self.key));
        self.appended += 1;
        if self.appended >= THIN_AFTER {
            self.is_open = false;
            self.open().await.map_err(io::Error::other)?;
        }
        Ok(())
    }

    /// Adds a statement to the file, unless it has it already.
    pub async fn keep(&mut self, statement: &SignedNote) -> io::Result<bool> {
        let is_new = !self.notes.iter().any(|note| note.text == statement.text);
        if is_new {
            self.publish(&statement.text).await?;
        }
        Ok(is_new)
    }

    /// Publishes the statements and the highest checkpoint of the file on NATS, too. Only after the notes on NATS were compared: the
    /// stream does not keep them for ever.
    pub fn forward(&self) {
        let of_statement = |note: &SignedNote| note.statement().map(|_| note.text.clone());
        let next = ForNats {
            statements: self.notes.iter().filter_map(of_statement).collect(),
            checkpoint: highest(&self.notes, &statements(&self.notes)).map(|note| note.text.clone()),
        };
        self.for_nats.send_if_modified(|current| {
            let changed = *current != next;
            *current = next;
            changed
        });
    }

    /// The task that publishes forwarded notes on NATS.
    pub fn publisher(&self) -> on_nats::Publisher {
        on_nats::Publisher::new(self.nats.clone(), self.key.clone(), self.streams, self.for_nats.subscribe())
    }
}
