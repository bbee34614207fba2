//! The log as a file: one event per line, each exactly the bytes that were signed. A second file holds the checkpoints.
//!
//! An existing file is continued. The result is byte for byte the same as that of one uninterrupted export. If the log is not the one
//! that the file was made from, nothing is appended.

use std::{
    ffi::OsString,
    fs::File,
    io::{self, BufWriter, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    vec,
};

use anyhow::{Context, ensure};
use contract::{cloud_event::CloudEvent, position::Position};
use futures::{Stream, TryStreamExt};
use tokio::task::{JoinHandle, block_in_place, spawn_blocking};

use crate::{
    evidence::Signed,
    examine::{Examined, Share, Wanted, examined},
    peaks::Peaks,
    progress::Progress,
    reading::{Fault, Reading},
    source::{LONGEST_LINE, Source},
};

/// Beginning of every line.
const BEGINNING: &[u8] = br#"{"specversion":"1.0","id":""#;

/// Syncing in between lets the disk write while further lines are produced.
const SYNCED_AT_ONCE: usize = 32 << 20;

/// Path of the checkpoints of an export.
pub fn checkpoints_file(export: &Path) -> PathBuf {
    let mut name = OsString::from(export);
    name.push(".checkpoints");
    name.into()
}

/// An export in progress.
pub struct Export {
    pub path: PathBuf,
    file: File,
    /// Length of its complete lines, without those that were appended.
    length: u64,
    /// Position of the last one.
    pub position: Position,
}

impl Export {
    /// Opens a new file or an earlier export. Truncates an incomplete last line; rejects any other file without changing it.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let open = || File::options().create(true).read(true).write(true).truncate(false).open(path);
        let mut file = open().with_context(|| format!("cannot write {}", path.display()))?;
        let length = file.metadata()?.len();
        let mut beginning = Vec::new();
        (&file).take(BEGINNING.len() as u64).read_to_end(&mut beginning)?;
        ensure!(BEGINNING.starts_with(&beginning), "{} is not an export: it begins otherwise", path.display());
        let start = length.saturating_sub(2 * LONGEST_LINE as u64);
        file.seek(SeekFrom::Start(start))?;
        let mut tail = Vec::new();
        file.read_to_end(&mut tail)?;
        let whole = tail.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let mut position = Position::START;
        if whole > 0 {
            let line = tail[..whole - 1].rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
            let last = CloudEvent::parse(line)
                .with_context(|| format!("{} is not an export: its last line is not an event", path.display()))?;
            position = last.position;
        } else {
            ensure!(start == 0, "{} is not an export: it holds no line", path.display());
        }
        let length = start + whole as u64;
        file.set_len(length)?;
        file.seek(SeekFrom::Start(length))?;
        Ok(Self { path: path.to_owned(), file, length, position })
    }

    /// Reads the file, and compares it with its checkpoints.
    pub async fn read(&self, signed: Vec<Signed>) -> anyhow::Result<Reading> {
        let mut reading = Reading::new(Peaks::default(), signed);
        let source = Source::File(self.path.clone());
        let mut shares = examined(&source, Position::START, None, Wanted { hashes: true, ..Wanted::default() });
        let mut progress = Progress::start("comparing", &source, Position::START, None).await;
        while !reading.is_over
            && let Some(share) = shares.try_next().await?
        {
            progress.advance(&share);
            reading.take(&share);
        }
        Ok(reading)
    }

    /// The first position at which the file and the log have different events, read from both. None if the log begins with the file.
    pub async fn first_difference(&self, log: &Source) -> anyhow::Result<Option<Fault>> {
        let wanted = Wanted { hashes: true, ..Wanted::default() };
        let mut file = examined(&Source::File(self.path.clone()), Position::START, None, wanted);
        let mut log = examined(log, Position::START, Some(self.position), wanted);
        let (mut ours, mut theirs, mut last) = (Vec::new().into_iter(), Vec::new().into_iter(), Position::START);
        while last < self.position {
            let (Some(our), Some(their)) = (next(&mut ours, &mut file).await?, next(&mut theirs, &mut log).await?)
            else {
                let what =
                    format!("they are missing: the log ends with position {last}, and the file with {}", self.position);
                return Ok(Some(Fault { position: last.next(), until: self.position, what }));
            };
            last = last.next();
            if our.hash != their.hash {
                return Ok(Some(Fault::at(last, "the log has another event than the file")));
            }
        }
        Ok(None)
    }

    /// Appends the events up to a position, or up to the end of the log. Ends at the first fault.
    pub async fn extend(
        &mut self,
        source: &Source,
        until: Option<Position>,
        reading: &mut Reading,
    ) -> anyhow::Result<()> {
        let end = match until {
            Some(until) => Some(until),
            None => source.end().await?,
        };
        let mut shares = examined(source, self.position, end, Wanted { lines: true, hashes: true, meanings: false });
        let mut progress = Progress::start("exporting", source, self.position, end).await;
        let mut writer = BufWriter::with_capacity(1 << 20, &self.file);
        let mut syncing: Option<JoinHandle<io::Result<()>>> = None;
        let mut unsynced = 0;
        while !reading.is_over
            && let Some(share) = shares.try_next().await?
        {
            progress.advance(&share);
            reading.take(&share);
            block_in_place(|| writer.write_all(&share.lines))?;
            unsynced += share.lines.len();
            if unsynced > SYNCED_AT_ONCE && syncing.as_ref().is_none_or(JoinHandle::is_finished) {
                unsynced = 0;
                let file = self.file.try_clone()?;
                if let Some(earlier) = syncing.replace(spawn_blocking(move || file.sync_data())) {
                    earlier.await??;
                }
            }
        }
        writer.flush()?;
        drop(writer);
        if let Some(last) = syncing {
            last.await??;
        }
        Ok(self.file.sync_all()?)
    }

    /// Removes the lines that were appended.
    pub fn discard(&self) -> io::Result<()> {
        self.file.set_len(self.length)?;
        self.file.sync_all()
    }
}

/// The next event of a log, or of a batch of it. None at the end, and at the first line that is not an event.
async fn next(
    batch: &mut vec::IntoIter<Examined>,
    shares: &mut (impl Stream<Item = anyhow::Result<Share>> + Unpin),
) -> anyhow::Result<Option<Examined>> {
    loop {
        if let Some(event) = batch.next() {
            return Ok(Some(event));
        }
        match shares.try_next().await? {
            Some(share) if !share.events.is_empty() => *batch = share.events.into_iter(),
            _ => return Ok(None),
        }
    }
}
