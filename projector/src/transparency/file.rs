//! The checkpoint file of a projector: every note that it has signed lately, and fewer and fewer of the earlier ones.

use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write},
    mem,
    path::{Path, PathBuf},
};

use chrono::Utc;
use event_log::transparency::signed_checkpoint::{NotACheckpoint, VerifyingKey};

use super::{notes::SignedNote, thinned::Thinned};

/// No note is longer. Bounds what is read of something else.
const MAX_NOTE: u64 = 16 * 1024;
/// Bytes of foreign content that an error quotes.
const EXCERPT: usize = 60;
/// A smaller file is not rewritten: it verifies in a second.
const THIN_FROM: u64 = 1024 * 1024;

#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("the checkpoint file {} cannot be used: {source}", .file.display())]
    File { file: PathBuf, source: io::Error },
    #[error("a checkpoint in {} was signed with another key ({source}); a new key needs a new file", .file.display())]
    OtherKey { file: PathBuf, source: NotACheckpoint },
    #[error("{} contains something other than checkpoints at byte {offset}: {excerpt:?}; it is not changed", .file.display())]
    Foreign { file: PathBuf, offset: u64, excerpt: String },
}

/// Opens the file for appending, and reads it whole. A partial note at its end is removed: it was never published. A file that
/// contains anything else is not changed. One that has grown large is replaced by a thinned one.
pub fn open(path: &Path, key: &VerifyingKey) -> Result<(File, Vec<SignedNote>), OpenError> {
    let failed = |source| OpenError::File { file: path.to_owned(), source };
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    let mut file = File::options().create(true).read(true).append(true).open(path).map_err(failed)?;
    let length = file.metadata().map_err(failed)?.len();
    let Contents { notes, whole, is_thinned } = Source { path, key }.read(&mut file, length)?;
    if is_thinned && length > THIN_FROM {
        file = replace(path, &notes).map_err(failed)?;
    } else if whole < length {
        file.set_len(whole).map_err(failed)?;
    }
    Ok((file, notes))
}

/// The notes of a file that a running projector may have open.
pub fn read(path: &Path, key: &VerifyingKey) -> Result<Vec<SignedNote>, OpenError> {
    let failed = |source| OpenError::File { file: path.to_owned(), source };
    let mut file = File::open(path).map_err(failed)?;
    let length = file.metadata().map_err(failed)?.len();
    Ok(Source { path, key }.read(&mut file, length)?.notes)
}

/// Replaces the file by one with these notes. After a crash there is either the old or the new one.
fn replace(path: &Path, notes: &[SignedNote]) -> io::Result<File> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let mut file = File::create(&new)?;
    for note in notes {
        file.write_all(note.text.as_bytes())?;
    }
    file.sync_all()?;
    fs::rename(&new, path)?;
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        File::open(folder)?.sync_all()?;
    }
    File::options().read(true).append(true).open(path)
}

struct Source<'a> {
    path: &'a Path,
    key: &'a VerifyingKey,
}

/// What a file contains.
struct Contents {
    /// Those to keep.
    notes: Vec<SignedNote>,
    /// There are more.
    is_thinned: bool,
    /// The length without a partial note at the end.
    whole: u64,
}

impl Source<'_> {
    fn read(&self, file: &mut File, length: u64) -> Result<Contents, OpenError> {
        let mut notes = Thinned::new(Utc::now());
        let whole = self.split(file, length, &mut notes)?;
        let is_thinned = notes.dropped() > 0;
        let notes = notes.finish();
        // Only those that are kept are verified: a file of an earlier version may have millions.
        for (offset, note) in &notes {
            note.verify(self.key).map_err(|reason| self.refuse(*offset, &note.text, Some(reason)))?;
        }
        Ok(Contents { notes: notes.into_iter().map(|(_, note)| note).collect(), is_thinned, whole })
    }

    /// Returns the length of the whole notes.
    fn split(&self, file: &mut File, length: u64, notes: &mut Thinned) -> Result<u64, OpenError> {
        let failed = |source| OpenError::File { file: self.path.to_owned(), source };
        let end = without_zeros(file, length).map_err(failed)?;
        file.seek(SeekFrom::Start(0)).map_err(failed)?;
        let mut lines = BufReader::new(file.take(end));
        // A note ends after its last signature line: before a line that is none, or at the end.
        let (mut start, mut note, mut is_signed) = (0, Vec::new(), false);
        loop {
            let before = note.len();
            let room = MAX_NOTE.saturating_sub(before as u64);
            if Read::by_ref(&mut lines).take(room).read_until(b'\n', &mut note).map_err(failed)? == 0 {
                break;
            }
            let line = &note[before..];
            let is_signature = line.starts_with("— ".as_bytes()) && line.ends_with(b"\n");
            if is_signed && !is_signature {
                let next = note.split_off(before);
                notes.push(start, self.parse(start, mem::replace(&mut note, next))?);
                start += before as u64;
            }
            is_signed = is_signature;
        }
        if is_signed {
            let length = note.len() as u64;
            notes.push(start, self.parse(start, note)?);
            return Ok(start + length);
        }
        if is_partial_note(&note, self.key.origin()) { Ok(start) } else { Err(self.foreign(start, &note)) }
    }

    /// The content of a note, without verifying its signature.
    fn parse(&self, offset: u64, note: Vec<u8>) -> Result<SignedNote, OpenError> {
        let text = String::from_utf8(note).map_err(|error| self.foreign(offset, error.as_bytes()))?;
        SignedNote::unverified(&text, self.key.origin())
            .ok_or_else(|| self.refuse(offset, &text, self.key.open(&text).err()))
    }

    fn refuse(&self, offset: u64, note: &str, reason: Option<NotACheckpoint>) -> OpenError {
        match reason {
            Some(source @ NotACheckpoint::Unsigned(_)) => OpenError::OtherKey { file: self.path.to_owned(), source },
            _ => self.foreign(offset, note.as_bytes()),
        }
    }

    fn foreign(&self, offset: u64, found: &[u8]) -> OpenError {
        let excerpt = String::from_utf8_lossy(&found[..found.len().min(EXCERPT)]).into_owned();
        OpenError::Foreign { file: self.path.to_owned(), offset, excerpt }
    }
}

/// The length without the zeros at the end: a power failure kept these bytes from the disk.
fn without_zeros(file: &mut File, length: u64) -> io::Result<u64> {
    let mut end = length;
    let mut block = Vec::new();
    while end > 0 {
        let start = end.saturating_sub(MAX_NOTE);
        file.seek(SeekFrom::Start(start))?;
        block.clear();
        Read::by_ref(file).take(end - start).read_to_end(&mut block)?;
        if let Some(last) = block.iter().rposition(|byte| *byte != 0) {
            return Ok(start + last as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

/// Whether this is the beginning of a note: its text, an empty line, and a signature without its line break.
fn is_partial_note(written: &[u8], origin: &str) -> bool {
    let begins =
        |text: &[u8], expected: &str| text.iter().zip(expected.as_bytes()).all(|(found, expected)| found == expected);
    let signature = written.windows(2).position(|pair| pair == b"\n\n").map_or(&[][..], |end| &written[end + 2..]);
    (begins(written, &format!("{origin}\n")) || begins(written, &format!("{origin} statement\n")))
        && begins(signature, &format!("— {origin} "))
        && !signature.contains(&b'\n')
}
