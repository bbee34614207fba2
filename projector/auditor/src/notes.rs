//! Keys and checkpoints in files.
//!
//! A file of checkpoints is a concatenation of notes. Editors, mail and other systems change line ends and blank lines. Neither
//! has a meaning there: no line of a checkpoint is empty except the one before the signatures.

use std::{fs, path::Path};

use anyhow::Context;
use event_log::transparency::signed_checkpoint::VerifyingKey;

/// Longest excerpt of a text that is not a note.
const EXCERPT_CHARS: usize = 60;

/// The key itself, or a file that holds it.
pub fn public_key(text: &str) -> anyhow::Result<VerifyingKey> {
    if !text.contains('+') || Path::new(text).is_file() {
        let key = fs::read_to_string(text).with_context(|| format!("cannot read the public key {text}"))?;
        return VerifyingKey::parse(&key).with_context(|| text.to_owned());
    }
    Ok(VerifyingKey::parse(text)?)
}

/// A note, or what is there instead.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Entry {
    /// Number of its first line, from 1.
    pub line: usize,
    /// The first line.
    pub origin: String,
    pub note: Result<String, String>,
    /// Whether it may have been cut off, being at the end of the file.
    pub is_cut: bool,
}

/// The notes in a file.
pub fn read(file: &Path) -> anyhow::Result<Vec<Entry>> {
    let bytes = fs::read(file).with_context(|| format!("cannot read the checkpoints {}", file.display()))?;
    Ok(split(&String::from_utf8_lossy(&bytes)))
}

/// As [`read`]; empty if the file is missing.
pub fn read_if_any(file: &Path) -> anyhow::Result<Vec<Entry>> {
    if file.exists() { read(file) } else { Ok(Vec::new()) }
}

/// Splits a concatenation of notes. Line ends may be CRLF, and blank lines may be added or removed.
pub fn split(text: &str) -> Vec<Entry> {
    let mut entries = Vec::new();
    let mut current = Partial::default();
    for (number, line) in (1..).zip(text.strip_prefix('\u{feff}').unwrap_or(text).lines()) {
        if line.is_empty() {
            continue;
        }
        let is_signature = line.starts_with("— ");
        if !is_signature && !current.signatures.is_empty() {
            entries.push(std::mem::take(&mut current).end());
        }
        if current.text.is_empty() && current.signatures.is_empty() {
            current.line = number;
        }
        let part = if is_signature { &mut current.signatures } else { &mut current.text };
        part.push_str(line);
        part.push('\n');
    }
    if current.line > 0 {
        let last = current.end();
        entries.push(Entry { is_cut: last.note.is_err() || !text.ends_with('\n'), ..last });
    }
    entries
}

#[derive(Default)]
struct Partial {
    line: usize,
    text: String,
    signatures: String,
}

impl Partial {
    fn end(self) -> Entry {
        let Self { line, text, signatures } = self;
        let excerpt: String = [&*text, &*signatures].concat().chars().take(EXCERPT_CHARS).collect();
        let excerpt = excerpt.trim_end();
        let note = if text.is_empty() {
            Err(format!("a signature without a checkpoint: {excerpt:?}"))
        } else if signatures.is_empty() {
            Err(format!("a text without a signature: {excerpt:?}"))
        } else {
            Ok(format!("{text}\n{signatures}"))
        };
        Entry { line, origin: text.lines().next().unwrap_or_default().to_owned(), note, is_cut: false }
    }
}

#[cfg(test)]
mod tests {
    use event_log::transparency::{
        merkle::record_hash,
        signed_checkpoint::{SigningKey, generate_keys},
    };

    use super::*;

    #[test]
    fn line_ends_and_blank_lines_between_and_in_notes_have_no_meaning() {
        let key = SigningKey::parse(&generate_keys("sales.example/log").unwrap().0).unwrap();
        let notes = [1, 2, 3].map(|size: i64| key.sign(size.try_into().unwrap(), record_hash(b"")));
        let whole = notes.concat();
        let expected: Vec<_> = notes.iter().cloned().map(Ok).collect();
        let read = |text: &str| split(text).into_iter().map(|entry| entry.note).collect::<Vec<_>>();
        for text in [
            whole.clone(),
            whole.replace('\n', "\r\n"),
            notes.join("\n"),
            notes.join("\r\n\r\n"),
            format!("\u{feff}\n\n{whole}\n\n"),
            whole.replace('\n', "\n\n"),
            whole.replace("\n\n", "\n"),
        ] {
            assert_eq!(read(&text), expected, "{text:?}");
        }
        assert!(read("").is_empty() && read("\n\r\n").is_empty());
    }

    #[test]
    fn anything_else_is_named_with_its_line_and_hides_no_note() {
        let key = SigningKey::parse(&generate_keys("sales.example/log").unwrap().0).unwrap();
        let note = key.sign(7.try_into().unwrap(), record_hash(b""));
        let lines = |text: &str| split(text).into_iter().map(|entry| (entry.line, entry.note)).collect::<Vec<_>>();
        let signature = note.lines().last().unwrap();
        let found = lines(&format!("{signature}\n{note}"));
        assert!(matches!(&found[0], (1, Err(what)) if what.contains("without a checkpoint")), "{found:?}");
        assert_eq!(found[1].1, Ok(note.clone()));
        let found = lines(&format!("{note}null"));
        assert_eq!(found[0], (1, Ok(note.clone())));
        assert!(matches!(&found[1], (6, Err(what)) if what.contains("null")), "{found:?}");
        // As after a power failure.
        let found = lines(&[&*note, &note[..20]].concat());
        assert!(matches!(&found[1], (6, Err(what)) if what.contains("without a signature")), "{found:?}");
        let found = lines(&[&*note, note.trim_end()].concat());
        assert_eq!(found[1], (6, Ok(note)));
    }
}
