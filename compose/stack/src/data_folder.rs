//! The data folder of a stack: databases, passwords, logs, and the state file.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{self, Path, PathBuf};

use anyhow::{Context, Result, ensure};

/// A larger log of a running process is rotated. One rotated log is kept.
const MAX_LOG_BYTES: u64 = 32 * 1024 * 1024;
/// The supervisor's log.
pub const SUPERVISOR: &str = "stack";

#[derive(Clone, Debug)]
pub struct DataFolder(PathBuf);

impl DataFolder {
    /// Created if missing, readable by its owner alone.
    pub fn open(path: &Path) -> Result<Self> {
        check_name(path)?;
        let create = || {
            DirBuilder::new().recursive(true).mode(0o700).create(path)?;
            path.canonicalize()
        };
        let folder = create().with_context(|| format!("cannot create the data folder {}", path.display()))?;
        // Links are resolved now.
        check_name(&folder)?;
        Ok(Self(folder))
    }

    /// `None` if it is missing.
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

    pub fn checkpoint_key(&self) -> PathBuf {
        self.0.join("checkpoints/key")
    }

    pub fn checkpoint_public_key(&self) -> PathBuf {
        self.0.join("checkpoints/key.pub")
    }

    pub fn license_key(&self) -> PathBuf {
        self.0.join("license-key.pem")
    }

    /// A projector appends the signed checkpoints to it.
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

    /// Keeps the logs of the previous run as `.log.1`. The supervisor's log is already in use.
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

    /// Moves the content of large logs to `.log.1` while their processes run. They append, so they continue in the emptied file. A
    /// line that is written in between is lost.
    pub fn rotate_large_logs(&self) -> io::Result<()> {
        self.rotate_logs_above(MAX_LOG_BYTES)
    }

    fn rotate_logs_above(&self, limit: u64) -> io::Result<()> {
        for entry in fs::read_dir(self.0.join("logs"))? {
            let log = entry?.path();
            if log.extension().is_some_and(|extension| extension == "log") && log.metadata()?.len() > limit {
                fs::copy(&log, log.with_extension("log.1"))?;
                File::options().write(true).open(&log)?.set_len(0)?;
            }
        }
        Ok(())
    }

    pub fn new_supervisor_log(&self) -> Result<File> {
        let log = self.log(SUPERVISOR);
        fs::create_dir_all(self.0.join("logs"))?;
        if log.exists() {
            rotate(&log)?;
        }
        Ok(File::options().create(true).append(true).open(&log)?)
    }

    pub fn why_locked(&self) -> String {
        let folder = self.0.display();
        format!(
            "a stack is already running on {folder}: `cargo stack status` shows it, `cargo stack down` stops it, and \
             --data-dir runs another one alongside"
        )
    }

    /// The exclusive right to run a stack on this folder; dropping the file releases it. `None` if another process has it.
    pub fn lock(&self) -> Result<Option<File>> {
        let file = File::options().create(true).truncate(false).write(true).open(self.0.join("lock"))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error.into()),
        }
    }
}

/// The servers' configuration files and options contain the name, and not all of them can quote these characters.
fn check_name(folder: &Path) -> Result<()> {
    let absolute = path::absolute(folder)?;
    let name =
        absolute.to_str().with_context(|| format!("the data folder {} is not named in UTF-8", absolute.display()))?;
    let wrong = name.chars().find(|c| matches!(c, '"' | '\\' | '$' | '\u{2028}' | '\u{2029}') || c.is_control());
    ensure!(
        wrong.is_none(),
        "the servers cannot use the data folder {name:?}, since its name contains {:?}; choose another one with --data-dir",
        wrong.unwrap_or_default()
    );
    Ok(())
}

fn rotate(log: &Path) -> io::Result<()> {
    fs::rename(log, log.with_extension("log.1"))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::io::Write;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::symlink;

    use tempfile::TempDir;

    use super::*;

    #[test]
    fn a_name_that_servers_cannot_use_is_refused_with_the_character() {
        let folder = TempDir::new().unwrap();
        for (name, wrong) in
            [("a\"b", r#"'"'"#), (r"a\b", r"'\\'"), ("$HOME", "'$'"), ("a\nb", r"'\n'"), ("\u{2028}", r"'\u{2028}'")]
        {
            let named = folder.path().join(name);
            let refused = format!("{:#}", DataFolder::open(&named).unwrap_err());
            assert!(refused.contains(&format!("contains {wrong};")) && !named.exists(), "{refused}");
        }
        let not_utf8 = folder.path().join(OsStr::from_bytes(b"\xff"));
        assert!(format!("{:#}", DataFolder::open(&not_utf8).unwrap_err()).contains("UTF-8"));
        let plain = folder.path().join("it's 100% größer {a} #1 @tls@");
        assert_eq!(DataFolder::open(&plain).unwrap().path(), plain.canonicalize().unwrap());
        let link = folder.path().join("link");
        let odd = folder.path().join("$");
        fs::create_dir(&odd).unwrap();
        symlink(odd, &link).unwrap();
        assert!(DataFolder::open(&link).is_err());
    }

    #[test]
    fn a_large_log_is_rotated_while_it_is_written() {
        let folder = TempDir::new().unwrap();
        let folder = DataFolder::open(folder.path()).unwrap();
        let mut log = folder.new_supervisor_log().unwrap();
        let (path, rotated) = (folder.log(SUPERVISOR), folder.log(SUPERVISOR).with_extension("log.1"));
        log.write_all(b"0123456789").unwrap();
        folder.rotate_logs_above(10).unwrap();
        assert!(!rotated.exists());
        log.write_all(b"!").unwrap();
        folder.rotate_logs_above(10).unwrap();
        log.write_all(b"more").unwrap();
        assert_eq!(fs::read_to_string(rotated).unwrap(), "0123456789!");
        assert_eq!(fs::read_to_string(path).unwrap(), "more");
    }
}
