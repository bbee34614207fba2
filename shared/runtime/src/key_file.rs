//! Key files, created once and never overwritten.

use std::{
    fs::{self, OpenOptions},
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use anyhow::Context;

/// Readable by the owner.
pub const SECRET: u32 = 0o600;
/// Readable by all users.
const PUBLIC: u32 = 0o644;

/// Creates a file and its folder; an existing file is an error.
pub fn create(file: &Path, mode: u32, content: &str) -> anyhow::Result<()> {
    let create = || {
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder)?;
        }
        OpenOptions::new().create_new(true).write(true).mode(mode).open(file)?.write_all(content.as_bytes())
    };
    create().with_context(|| format!("cannot create {}", file.display()))
}

/// Creates the files of a key pair, the one of the public key with the suffix `.pub`.
pub fn create_pair(file: &Path, private: &str, public: &str) -> anyhow::Result<()> {
    let mut public_file = file.as_os_str().to_owned();
    public_file.push(".pub");
    create(file, SECRET, private)?;
    create(public_file.as_ref(), PUBLIC, public)
}
