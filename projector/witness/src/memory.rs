//! The last cosigned checkpoint of each log, in a file per log. It is on disk before its cosignature leaves, so that a witness that was
//! killed does not cosign another history.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, bail};
use chrono::Utc;
use contract::position::Position;
use event_log::transparency::{
    cosignature::CosigningKey,
    merkle::check_tree,
    signed_checkpoint::{Checkpoint, NotACheckpoint, VerifyingKey},
};
use sha2::{Digest, Sha256};
use tokio::{sync::Mutex, task::spawn_blocking};

use crate::request::{Malformed, Submission};

/// Why a checkpoint is not cosigned.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error("this witness does not cosign the log {0:?}")]
    UnknownLog(String),
    #[error(transparent)]
    Unsigned(#[from] NotACheckpoint),
    #[error("the last cosigned checkpoint has the size {0}")]
    OldSize(Position),
    #[error("a checkpoint of this size with another root was cosigned")]
    OtherRoot(Checkpoint),
    #[error("the proof does not show that the log begins with the last cosigned checkpoint")]
    Inconsistent(Option<Checkpoint>),
    #[error("the checkpoint cannot be stored: {0}")]
    Storage(#[from] io::Error),
}

/// The logs that a witness cosigns, by their origins.
pub struct Memory {
    logs: HashMap<String, Log>,
    /// No other process uses the folder.
    _lock: File,
}

struct Log {
    keys: Vec<VerifyingKey>,
    file: PathBuf,
    /// One submission at a time, also after its client has gone.
    last: Arc<Mutex<Option<Checkpoint>>>,
}

impl Memory {
    pub fn open(folder: &Path, keys: Vec<VerifyingKey>) -> anyhow::Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let lock = File::create(folder.join("lock")).with_context(|| format!("cannot use {}", folder.display()))?;
        lock.try_lock().with_context(|| format!("another witness uses {}", folder.display()))?;
        let mut by_origin: HashMap<String, Vec<VerifyingKey>> = HashMap::new();
        for key in keys {
            by_origin.entry(key.origin().to_owned()).or_default().push(key);
        }
        let mut logs = HashMap::new();
        for (origin, keys) in by_origin {
            // An origin may be longer than the name of a file, and contain slashes.
            let file = folder.join(hex::encode(Sha256::digest(&origin)));
            let last = Arc::new(Mutex::new(load(&file, &keys)?));
            logs.insert(origin, Log { keys, file, last });
        }
        Ok(Self { logs, _lock: lock })
    }

    /// Cosigns a checkpoint that continues the last one. Returns the signature line.
    pub async fn cosign(&self, key: &Arc<CosigningKey>, submission: Submission) -> Result<String, Refusal> {
        let origin = &submission.checkpoint.origin;
        let log = self.logs.get(origin).ok_or_else(|| Refusal::UnknownLog(origin.clone()))?;
        open(&log.keys, &submission.note)?;
        // The lock is taken before a thread is: a disk that does not respond takes one thread, not one per submission.
        let mut last = Arc::clone(&log.last).lock_owned().await;
        let (file, key) = (log.file.clone(), Arc::clone(key));
        let store_and_sign = move || {
            require_continuation(last.as_ref(), &submission)?;
            if last.as_ref() != Some(&submission.checkpoint) {
                store(&file, &submission.note)?;
                *last = Some(submission.checkpoint);
            }
            Ok(key.cosign(&submission.note, Utc::now())?)
        };
        spawn_blocking(store_and_sign).await.map_err(io::Error::other)?
    }
}

/// Verifies the signature with one of the log's keys. A wrong one is no less an error if another one is right.
fn open(keys: &[VerifyingKey], note: &str) -> Result<Checkpoint, NotACheckpoint> {
    let mut outcome = Err(NotACheckpoint::NotANote);
    for key in keys {
        match key.open(note) {
            Err(NotACheckpoint::Unsigned(_)) if outcome.is_ok() => (),
            Err(wrong @ NotACheckpoint::Forged(_)) => return Err(wrong),
            opened => outcome = opened,
        }
    }
    outcome
}

/// In the order of C2SP tlog-witness.
fn require_continuation(last: Option<&Checkpoint>, submission: &Submission) -> Result<(), Refusal> {
    let Submission { old, proof, checkpoint: new, .. } = submission;
    if *old > new.position {
        return Err(Malformed::OldIsLarger.into());
    }
    let known = last.map_or(Position::START, |last| last.position);
    if *old != known {
        return Err(Refusal::OldSize(known));
    }
    let inconsistent = || Refusal::Inconsistent(last.cloned());
    match last {
        Some(last) if new.position == known && new.root != last.root => Err(Refusal::OtherRoot(last.clone())),
        Some(last) if known > Position::START => {
            check_tree(proof, new.position.as_sequence(), new.root, known.as_sequence(), last.root)
                .map_err(|_| inconsistent())
        }
        _ => {
            // Every log begins with the empty one.
            let is_empty = new.root.0[..] == Sha256::digest(b"")[..];
            let is_true = proof.is_empty() && (new.position > Position::START || is_empty);
            is_true.then_some(()).ok_or_else(inconsistent)
        }
    }
}

fn load(file: &Path, keys: &[VerifyingKey]) -> anyhow::Result<Option<Checkpoint>> {
    let note = match fs::read_to_string(file) {
        Ok(note) => note,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", file.display())),
    };
    match open(keys, &note) {
        Ok(checkpoint) => Ok(Some(checkpoint)),
        Err(error) => bail!(
            "{} is not the last cosigned checkpoint ({error}); keep the old keys of a log along with a new one",
            file.display()
        ),
    }
}

/// Returns when the note is on disk in place of the one before.
fn store(file: &Path, note: &str) -> io::Result<()> {
    let partial = file.with_extension("partial");
    let mut writing = File::create(&partial)?;
    writing.write_all(note.as_bytes())?;
    writing.sync_all()?;
    fs::rename(&partial, file)?;
    let folder = file.parent().ok_or(io::ErrorKind::NotFound)?;
    File::open(folder)?.sync_all()
}
