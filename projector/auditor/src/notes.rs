//! Keys and checkpoints in files.

use std::{fs, path::Path};

use anyhow::{Context, ensure};
use event_log::transparency::signed_checkpoint::{VerifyingKey, split_notes};

/// The key itself, or a file that holds it.
pub fn public_key(text: &str) -> anyhow::Result<VerifyingKey> {
    if !text.contains('+') || Path::new(text).is_file() {
        let key = fs::read_to_string(text).with_context(|| format!("cannot read the public key {text}"))?;
        return VerifyingKey::parse(&key).with_context(|| text.to_owned());
    }
    Ok(VerifyingKey::parse(text)?)
}

/// The notes in a file, which must contain nothing else.
pub fn read(file: &Path) -> anyhow::Result<Vec<String>> {
    let text = fs::read_to_string(file).with_context(|| format!("cannot read the checkpoints {}", file.display()))?;
    let notes = split_notes(&text);
    ensure!(!notes.is_empty(), "{} contains no checkpoint", file.display());
    Ok(notes.into_iter().map(str::to_owned).collect())
}

/// As [`read`]; empty if the file is missing or empty.
pub fn read_if_any(file: &Path) -> anyhow::Result<Vec<String>> {
    match file.metadata() {
        Ok(metadata) if metadata.len() > 0 => read(file),
        _ => Ok(Vec::new()),
    }
}
