//! Everything that a running stack keeps: the databases, their passwords, the logs, who is running.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The name of our own log when nobody watches.
pub const SUPERVISOR: &str = "stack";

#[derive(Clone, Debug)]
pub struct DataFolder(PathBuf);

impl DataFolder {
    /// Made when it is missing, for our eyes only.
    pub fn open(path: &Path) -> Result<Self> {
        let make = || {
            DirBuilder::new().recursive(true).mode(0o700).create(path)?;
            path.canonicalize()
        };
        Ok(Self(make().with_context(|| format!("cannot make the data folder {}", path.display()))?))
    }

    /// `None` when it is missing, in which case nothing runs in it either.
    pub fn existing(path: &Path) -> Option<Self> {
        path.canonicalize().ok().map(Self)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn postgres(&self) -> PathBuf {
        self.0.join("postgres")
    }

    pub fn nats(&self) -> PathBuf {
        self.0.join("nats")
    }

    pub fn traefik(&self) -> PathBuf {
        self.0.join("traefik")
    }

    pub fn secrets(&self) -> PathBuf {
        self.0.join("secrets.json")
    }

    /// Signs the checkpoints of the log.
    pub fn checkpoint_key(&self) -> PathBuf {
        self.0.join("checkpoints/key")
    }

    /// Tells whether they are signed by it.
    pub fn checkpoint_public_key(&self) -> PathBuf {
        self.0.join("checkpoints/key.pub")
    }

    /// Signs licence keys.
    pub fn license_key(&self) -> PathBuf {
        self.0.join("license-key.pem")
    }

    /// To which a projector appends the checkpoints that it signs.
    pub fn checkpoint_log(&self, replica: &str) -> PathBuf {
        self.0.join("checkpoints").join(format!("{replica}.txt"))
    }

    /// The hashes of the access tokens.
    pub fn access_tokens(&self) -> PathBuf {
        self.0.join("access-tokens")
    }

    pub fn state(&self) -> PathBuf {
        self.0.join("state.json")
    }

    pub fn log(&self, name: &str) -> PathBuf {
        self.0.join("logs").join(format!("{name}.log"))
    }

    /// New logs for a new run; those of the run before are kept beside them. The supervisor's own log is in use already.
    pub fn rotate_logs(&self) -> Result<()> {
        let logs = self.0.join("logs");
        fs::create_dir_all(&logs)?;
        for entry in fs::read_dir(&logs)? {
            let log = entry?.path();
            if log.extension().is_some_and(|extension| extension == "log") && log != self.log(SUPERVISOR) {
                rotate(&log)?;
            }
        }
        Ok(())
    }

    /// Opens the log of a supervisor that is about to start.
    pub fn new_supervisor_log(&self) -> Result<File> {
        let log = self.log(SUPERVISOR);
        fs::create_dir_all(self.0.join("logs"))?;
        if log.exists() {
            rotate(&log)?;
        }
        Ok(File::create(&log)?)
    }

    /// For who wanted the lock.
    pub fn why_locked(&self) -> String {
        let folder = self.0.display();
        format!(
            "a stack is already running on {folder}: `cargo stack status` shows it, `cargo stack down` stops it, and \
             --data-dir runs another one beside it"
        )
    }

    /// The right to run a stack on this folder, held as long as the file lives. `None` when another process has it.
    pub fn lock(&self) -> Result<Option<File>> {
        let file = File::options().create(true).truncate(false).write(true).open(self.0.join("lock"))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error.into()),
        }
    }
}

fn rotate(log: &Path) -> io::Result<()> {
    fs::rename(log, log.with_extension("log.1"))
}
