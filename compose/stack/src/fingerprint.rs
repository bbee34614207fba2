//! Whether something changed since it was last made from.

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher};
use std::path::Path;

use anyhow::{Context, Result};

/// Over the contents and names of files. Not against attackers: those who could change a file could change the stamp.
#[derive(Debug, Default)]
#[must_use]
pub struct Fingerprint(DefaultHasher);

impl Fingerprint {
    pub fn text(mut self, text: &str) -> Self {
        text.hash(&mut self.0);
        self
    }

    /// A file, or a folder with everything below it except entries of the names in `without`.
    pub fn path(mut self, path: &Path, without: &[&str]) -> Result<Self> {
        self.add(path, without).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(self)
    }

    fn add(&mut self, path: &Path, without: &[&str]) -> Result<()> {
        path.hash(&mut self.0);
        if path.is_dir() {
            let mut entries = fs::read_dir(path)?.collect::<Result<Vec<_>, _>>()?;
            entries.retain(|entry| !without.iter().any(|name| entry.file_name() == *name));
            entries.sort_by_key(fs::DirEntry::file_name);
            entries.iter().try_for_each(|entry| self.add(&entry.path(), without))
        } else {
            fs::read(path)?.hash(&mut self.0);
            Ok(())
        }
    }

    pub fn finish(&self) -> String {
        format!("{:016x}", self.0.finish())
    }
}
