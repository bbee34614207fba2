//! Detects whether the sources of a build have changed.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

/// A hash of the names and contents of files.
#[derive(Debug, Default)]
#[must_use]
pub struct Fingerprint(Sha256);

impl Fingerprint {
    pub fn text(mut self, text: &str) -> Self {
        self.update(text.as_bytes());
        self
    }

    /// A file, or a folder with everything below it except entries named in `without`.
    pub fn path(mut self, path: &Path, without: &[&str]) -> Result<Self> {
        self.add(path, without).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(self)
    }

    fn add(&mut self, path: &Path, without: &[&str]) -> Result<()> {
        self.update(path.as_os_str().as_encoded_bytes());
        if path.is_dir() {
            let mut entries = fs::read_dir(path)?.collect::<Result<Vec<_>, _>>()?;
            entries.retain(|entry| !without.iter().any(|name| entry.file_name() == *name));
            entries.sort_by_key(fs::DirEntry::file_name);
            entries.iter().try_for_each(|entry| self.add(&entry.path(), without))
        } else {
            self.update(&fs::read(path)?);
            Ok(())
        }
    }

    /// With its length, so that adjacent parts cannot be confused.
    fn update(&mut self, part: &[u8]) {
        self.0.update(part.len().to_le_bytes());
        self.0.update(part);
    }

    /// The first 64 bits, in hexadecimal.
    pub fn finish(self) -> String {
        let hash: [u8; 32] = self.0.finalize().into();
        format!("{:016x}", u64::from_be_bytes(*hash.first_chunk().expect("a hash is longer than 64 bits")))
    }
}
