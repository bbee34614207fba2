//! The log as a file: one event a line, each exactly the bytes that were signed, with the checkpoints in another file beside it.
//!
//! A file that is there already is continued: whether its export was interrupted or the log has grown since, it ends up byte
//! for byte as if it had been written in one go.

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

/// How every line begins.
const BEGINNING: &[u8] = br#"{"specversion":"1.0","id":""#;

/// The disk writes this while the next lines are made; it would start at the end otherwise.
const SYNCED_AT_ONCE: usize = 32 << 20;

/// Where the checkpoints of an export are.
pub fn checkpoints_file(export: &Path) -> PathBuf {
    let mut name = OsString::from(export);
    name.push(".checkpoints");
    name.into()
}

/// A file that is being written.
pub struct Export {
    file: File,
    /// What it holds: every event up to this one.
    pub position: Position,
}

impl Export {
    /// Opens a file, or what an earlier export has left of it. Half a line at its end is cut off; a file of something else is left alone.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let open = || File::options().create(true).read(true).write(true).truncate(false).open(path);
        let mut file = open().with_context(|| format!("{} cannot be written", path.display()))?;
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
                .with_context(|| format!("{} is not an export: its last line is no event", path.display()))?;
            position = last.position;
        } else {
            ensure!(start == 0, "{} is not an export: it holds no line", path.display());
        }
        let length = start + whole as u64;
        file.set_len(length)?;
        file.seek(SeekFrom::Start(length))?;
        Ok(Self { file, position })
    }

    /// Appends everything up to a position, or up to the end of the log.
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
