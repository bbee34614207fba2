//! The log as a file: one event per line, each exactly the bytes that were signed. A second file holds the checkpoints.
//!
//! An existing file is continued. The result is byte for byte the same as that of one uninterrupted export.

use std::{
    ffi::OsString,
    fs::File,
    io::{self, BufWriter, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail, ensure};
use contract::{cloud_event::CloudEvent, position::Position};
use futures::TryStreamExt;
use tokio::task::{JoinHandle, block_in_place, spawn_blocking};

use crate::{
    examine::{Wanted, examined},
    progress::Progress,
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
    file: File,
    /// Position of the last event in the file.
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
        Ok(Self { file, position })
    }

    /// Appends the events up to a position, or up to the end of the log.
    pub async fn extend(&mut self, source: &Source, until: Option<Position>) -> anyhow::Result<()> {
        let end = match until {
            Some(until) => Some(until),
            None => source.end().await?,
        };
        let mut shares = examined(source, self.position, end, Wanted { lines: true, ..Wanted::default() });
        let mut progress = Progress::start("exporting", source, self.position, end).await;
        let mut writer = BufWriter::with_capacity(1 << 20, &self.file);
        let mut syncing: Option<JoinHandle<io::Result<()>>> = None;
        let mut unsynced = 0;
        while let Some(share) = shares.try_next().await? {
            progress.advance(&share);
            for event in &share.events {
                let expected = self.position.next();
                if event.position != expected {
                    bail!("position {expected} is missing in the log, {} follows", event.position);
                }
                self.position = expected;
            }
            block_in_place(|| writer.write_all(&share.lines))?;
            unsynced += share.lines.len();
            if unsynced > SYNCED_AT_ONCE && syncing.as_ref().is_none_or(JoinHandle::is_finished) {
                unsynced = 0;
                let file = self.file.try_clone()?;
                if let Some(earlier) = syncing.replace(spawn_blocking(move || file.sync_data())) {
                    earlier.await??;
                }
            }
            if let Some(fault) = share.fault {
                bail!("position {}: {}", fault.position.unwrap_or(self.position.next()), fault.what);
            }
        }
        writer.flush()?;
        drop(writer);
        if let Some(last) = syncing {
            last.await??;
        }
        self.file.sync_all()?;
        if let Some(missing) = until.filter(|until| *until > self.position) {
            bail!("the log ends with position {}, before {missing}", self.position);
        }
        Ok(())
    }
}
