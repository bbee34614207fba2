//! Decodes events and checks that they are encoded as this system encodes them. Batches are examined on all cores.

use std::{num::NonZero, thread::available_parallelism};

use chrono::{DateTime, Utc};
use contract::{
    canonical,
    cloud_event::CloudEvent,
    event::{DecodeError, Event, LICENSE_PURCHASED, LicensePurchased},
    position::Position,
};
use event_log::{
    copy_format::parse_row,
    transparency::merkle::{Hash, record_hash},
};
use futures::{Stream, StreamExt};
use memchr::memchr;
use tokio::task::spawn_blocking;
use tokio_stream::wrappers::ReceiverStream;

use crate::source::{BATCH, Batch, Source};

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
    /// The decoded event, if wanted.
    pub meaning: Option<Result<Event, Meaning>>,
    /// Its leaf hash; all zero unless wanted.
    pub hash: Hash,
}

/// Why an event cannot be decoded.
#[derive(Clone, Debug)]
pub enum Meaning {
    /// A newer program wrote it: its type, version or licence is unknown.
    Newer(String),
    /// Its type and version are known, and its data is invalid for them: only a decision can void such an event. With an unknown
    /// currency, it may still be that of a newer program.
    Invalid { what: String, may_be_newer: bool },
}

impl Meaning {
    fn of(error: &DecodeError, data: &str) -> Self {
        let what = error.to_string();
        match error {
            DecodeError::Unknown { .. } | DecodeError::UnknownLicense(_) => Self::Newer(what),
            DecodeError::Broken { event_type, .. } => {
                let may_be_newer = event_type == LICENSE_PURCHASED && has_unknown_currency(data);
                Self::Invalid { what, may_be_newer }
            }
        }
    }
}

/// Whether the data of a purchase would be valid if there were a currency of that name.
fn has_unknown_currency(data: &str) -> bool {
    let price = |data: &str| {
        let value: serde_json::Value = serde_json::from_str(data).ok()?;
        Some(value.get("price")?.get("currency")?.as_str()?.to_owned())
    };
    let Some(name) = price(data) else { return false };
    let known = data.replacen(&format!("\"currency\":\"{name}\""), "\"currency\":\"EUR\"", 1);
    let is_code = name.len() == 3 && name.bytes().all(|byte| byte.is_ascii_uppercase());
    // Of any licence: a newer program may have added both.
    let decoded = Event::decode(LICENSE_PURCHASED, 1, &known);
    is_code && known != data && decoded.as_ref().err().is_none_or(|error| !error.is_final())
}

/// Consecutive events, and the first fault among them.
#[derive(Default)]
pub struct Share {
    pub events: Vec<Examined>,
    /// Their lines with line breaks, if wanted.
    pub lines: Vec<u8>,
    /// Their stored size.
    pub bytes: usize,
    /// The line of the last one, if it was encoded.
    canonical: Vec<u8>,
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
    let mut share = Share { events: Vec::with_capacity(BATCH), bytes: batch.bytes(), ..Share::default() };
    share.fault = match batch {
        Batch::Rows(rows) => rows.iter().find_map(|row| examine_row(row, &mut share, wanted).err()),
        Batch::Lines(lines) => {
            let mut lines = lines.as_ref();
            loop {
                let Some(end) = memchr(b'\n', lines) else { break None };
                let (line, rest) = lines.split_at(end);
                lines = &rest[1..];
                if let Err(fault) = examine_line(line, &mut share, wanted) {
                    break Some(fault);
                }
            }
        }
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
    if let Some(canonical::Line { position, time, license, price }) = canonical::line(line) {
        let decode = || Ok(Event::LicensePurchased(LicensePurchased { license, price }));
        share.add(position, time, decode, line, wanted);
        return Ok(());
    }
    let event = CloudEvent::parse(line).map_err(|error| fault(None, format!("its line cannot be read: {error}")))?;
    take(&event, Some(line), share, wanted)
}

fn fault(position: Option<Position>, what: impl Into<String>) -> Fault {
    Fault { position, what: what.into(), is_torn: false }
}

/// Adds a decoded event. `line` is its stored line, where there is one.
fn take(event: &CloudEvent<'_>, line: Option<&[u8]>, share: &mut Share, wanted: Wanted) -> Result<(), Fault> {
    let mut canonical = std::mem::take(&mut share.canonical);
    canonical.clear();
    event.write(&mut canonical);
    if line.is_some_and(|line| line != canonical) {
        let canonical = String::from_utf8_lossy(&canonical);
        let what = format!("its line is not encoded as this system encodes it, which would be {canonical}");
        return Err(fault(Some(event.position), what));
    }
    let decode = || event.decode().map_err(|error| Meaning::of(&error, event.data()));
    share.add(event.position, event.time, decode, &canonical, wanted);
    share.canonical = canonical;
    Ok(())
}

impl Share {
    fn add(
        &mut self,
        position: Position,
        time: DateTime<Utc>,
        decode: impl FnOnce() -> Result<Event, Meaning>,
        line: &[u8],
        wanted: Wanted,
    ) {
        if wanted.lines {
            self.lines.extend_from_slice(line);
            self.lines.push(b'\n');
        }
        let hash = if wanted.hashes { record_hash(line) } else { Hash::default() };
        let meaning = wanted.meanings.then(decode);
        self.events.push(Examined { position, time, meaning, hash });
    }
}
