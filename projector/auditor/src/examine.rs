//! Decodes events and checks that they are encoded as this system encodes them. Batches are examined on all cores.

use std::{num::NonZero, thread::available_parallelism};

use chrono::{DateTime, Utc};
use contract::{
    cloud_event::CloudEvent,
    event::{DecodeError, Event},
    position::Position,
};
use event_log::{
    copy_format::parse_row,
    transparency::merkle::{Hash, record_hash},
};
use futures::{Stream, StreamExt};
use tokio::task::spawn_blocking;
use tokio_stream::wrappers::ReceiverStream;

use crate::source::{Batch, Source};

/// Which results to compute per event.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted {
    pub hashes: bool,
    pub lines: bool,
    pub meanings: bool,
}

/// An event with a canonical encoding.
pub struct Examined {
    pub position: Position,
    pub time: DateTime<Utc>,
    /// The decoded event, if wanted. The error is final: only a decision can void such an event.
    pub event: Option<Result<Event, DecodeError>>,
    /// Its leaf hash; all zero unless wanted.
    pub hash: Hash,
}

/// Consecutive events, and the first fault among them.
#[derive(Default)]
pub struct Share {
    pub events: Vec<Examined>,
    /// Their lines with line breaks, if wanted.
    pub lines: Vec<u8>,
    /// Their stored size.
    pub bytes: usize,
    pub fault: Option<Fault>,
}

/// A deviation from every event that this system writes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Fault {
    /// The position that the event itself states, if readable.
    pub position: Option<Position>,
    pub what: String,
    /// The export may merely be incomplete.
    pub is_torn: bool,
}

/// Examines the events after a position: in order, several batches concurrently.
pub fn examined(
    source: &Source,
    after: Position,
    until: Option<Position>,
    wanted: Wanted,
) -> impl Stream<Item = anyhow::Result<Share>> + Unpin + use<> {
    // One more than cores: the next batch is ready while the previous one is consumed.
    let at_once = available_parallelism().map_or(1, NonZero::get) + 1;
    let batches = ReceiverStream::new(source.read(after, until));
    batches
        .map(move |batch| async move {
            let batch = batch?;
            Ok(spawn_blocking(move || examine(&batch, wanted)).await?)
        })
        .buffered(at_once)
        .boxed()
}

/// Stops at the first fault.
fn examine(batch: &Batch, wanted: Wanted) -> Share {
    let mut share = Share { events: Vec::with_capacity(batch.events()), bytes: batch.bytes(), ..Share::default() };
    share.fault = match batch {
        Batch::Rows(rows) => rows.iter().find_map(|row| examine_row(row, &mut share, wanted).err()),
        Batch::Lines(lines) => lines.iter().find_map(|line| examine_line(line, &mut share, wanted).err()),
        Batch::Torn(_) => {
            let what =
                "the file ends in the middle of a line: the export was interrupted, and `auditor export` resumes it";
            Some(Fault { is_torn: true, ..fault(None, what) })
        }
        Batch::Endless(_) => Some(fault(None, "its line is longer than that of any event")),
    };
    share
}

fn examine_row(row: &[u8], share: &mut Share, wanted: Wanted) -> Result<(), Fault> {
    let event = parse_row(row).map_err(|error| fault(None, format!("its row cannot be read: {error}")))?;
    let event = CloudEvent::try_from(&event).map_err(|error| fault(Some(error.position), error.reason.to_string()))?;
    take(&event, None, share, wanted)
}

fn examine_line(line: &[u8], share: &mut Share, wanted: Wanted) -> Result<(), Fault> {
    let event = CloudEvent::parse(line).map_err(|error| fault(None, format!("its line cannot be read: {error}")))?;
    take(&event, Some(line), share, wanted)
}

fn fault(position: Option<Position>, what: impl Into<String>) -> Fault {
    Fault { position, what: what.into(), is_torn: false }
}

/// Adds a decoded event. `line` is its stored line, where there is one.
fn take(event: &CloudEvent<'_>, line: Option<&[u8]>, share: &mut Share, wanted: Wanted) -> Result<(), Fault> {
    let at = |what: String| fault(Some(event.position), what);
    let start = share.lines.len();
    event.write(&mut share.lines);
    let canonical = &share.lines[start..];
    if line.is_some_and(|line| line != canonical) {
        return Err(at(format!(
            "its line is not encoded as this system encodes it, which would be {}",
            String::from_utf8_lossy(canonical)
        )));
    }
    let hash = if wanted.hashes { record_hash(canonical) } else { Hash::default() };
    if wanted.lines {
        share.lines.push(b'\n');
    } else {
        share.lines.clear();
    }
    let meaning = wanted.meanings.then(|| event.decode());
    if let Some(Err(error)) = &meaning
        && !error.is_final()
    {
        return Err(at(error.to_string()));
    }
    share.events.push(Examined { position: event.position, time: event.time, event: meaning, hash });
    Ok(())
}
