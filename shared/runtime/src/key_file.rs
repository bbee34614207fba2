//! Files with keys, which are made once and never written over.

use std::{
    fs::{self, OpenOptions},
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use anyhow::Context;

/// For the eyes of its owner.
pub const SECRET: u32 = 0o600;
/// For everybody's.
pub const PUBLIC: u32 = 0o644;

/// Makes a file, with its folder, unless it is there.
pub fn create(file: &Path, mode: u32, content: &str) -> anyhow::Result<()> {
    let create = || {
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder)?;
        }
        OpenOptions::new().create_new(true).write(true).mode(mode).open(file)?.write_all(content.as_bytes())
    };
    create().with_context(|| format!("{} cannot be made", file.display()))
}
