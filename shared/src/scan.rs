//! The event log in bulk: long stretches of it through a binary COPY, row by row, as it is stored.
//!
//! Source of the format: the documentation of Postgres, COPY, binary format. Numbers are big-endian; `json` is sent as its text;
//! a timestamp is in microseconds from 2000-01-01.

use bytes::{Buf, Bytes};
use chrono::{DateTime, Utc};
use futures::{StreamExt, stream::BoxStream};
use sqlx::{PgPool, postgres::PgPoolCopyExt};
use uuid::Uuid;

use crate::{
    event::{DecodeError, Event, EventId},
    event_log::{Position, ReadError},
};

/// Signature, flags and length of an extension that does not exist.
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// In place of the number of columns, behind the last row.
const END: &[u8] = &(-1_i16).to_be_bytes();
const COLUMNS: i16 = 7;
/// 2000-01-01, where the timestamps of Postgres begin, from 1970-01-01.
const EPOCH_MICROSECONDS: i64 = 946_684_800_000_000;

/// An event as it comes by. Its texts are those that are stored.
#[derive(Clone, Copy, Debug)]
pub struct ScannedEvent<'a> {
    pub position: Position,
    pub event_id: EventId,
    pub recorded_at: DateTime<Utc>,
    pub schema_version: i16,
    pub event_type: &'a str,
    pub data: &'a str,
    pub metadata: Option<&'a str>,
}

impl ScannedEvent<'_> {
    pub fn decode(&self) -> Result<Event, DecodeError> {
        Event::decode(self.event_type, self.schema_version, self.data)
    }
}

/// A stretch of the log on its way here.
pub struct Scan {
    rows: BoxStream<'static, sqlx::Result<Bytes>>,
    row: Bytes,
    last: Position,
    until: Position,
}

/// The events after a position, up to and with another one.
pub async fn scan(event_store: &PgPool, after: Position, until: Position) -> Result<Scan, ReadError> {
    let statement = format!(
        "copy (select position, event_id, recorded_at, schema_version, event_type, data, metadata
               from event where position > {after} and position <= {until} order by position)
         to stdout (format binary)"
    );
    Ok(Scan { rows: event_store.copy_out_raw(&statement).await?, row: Bytes::new(), last: after, until })
}

impl Scan {
    /// The next event; `None` after the last one that was asked for. A hole is an error, and so is a log that ends before.
    pub async fn next(&mut self) -> Result<Option<ScannedEvent<'_>>, ReadError> {
        // Postgres sends a message per row. The header comes with the first one, and the last one is only a mark.
        loop {
            let Some(mut message) = self.rows.next().await.transpose()? else {
                let (end, after) = (self.last, self.until);
                return if end == after { Ok(None) } else { Err(ReadError::CutOff { end, after }) };
            };
            if message.starts_with(HEADER) {
                message.advance(HEADER.len());
            }
            if message != END {
                self.row = message;
                break;
            }
        }
        let event = Row(&self.row).event().map_err(sqlx::Error::Decode)?;
        let expected = self.last.next();
        if event.position != expected {
            return Err(ReadError::Hole { expected, found: event.position });
        }
        self.last = expected;
        Ok(Some(event))
    }
}

/// The rest of a row.
struct Row<'a>(&'a [u8]);

type RowError = Box<dyn std::error::Error + Send + Sync>;

impl<'a> Row<'a> {
    fn event(mut self) -> Result<ScannedEvent<'a>, RowError> {
        let columns = i16::from_be_bytes(self.take()?);
        if columns != COLUMNS {
            return Err(format!("a row of {columns} columns").into());
        }
        let position = i64::from_be_bytes(self.number()?).try_into()?;
        let event_id = Uuid::from_bytes(self.number()?).into();
        let microseconds = i64::from_be_bytes(self.number()?).checked_add(EPOCH_MICROSECONDS);
        let recorded_at = microseconds.and_then(DateTime::from_timestamp_micros).ok_or("a time beyond all times")?;
        let schema_version = i16::from_be_bytes(self.number()?);
        let event_type = self.text()?.ok_or("no event type")?;
        let data = self.text()?.ok_or("no data")?;
        let metadata = self.text()?;
        Ok(ScannedEvent { position, event_id, recorded_at, schema_version, event_type, data, metadata })
    }

    fn take<const LENGTH: usize>(&mut self) -> Result<[u8; LENGTH], RowError> {
        let (taken, rest) = self.0.split_first_chunk().ok_or("a row that ends too soon")?;
        self.0 = rest;
        Ok(*taken)
    }

    /// A value of fixed length, which stands before it.
    fn number<const LENGTH: usize>(&mut self) -> Result<[u8; LENGTH], RowError> {
        let length = i32::from_be_bytes(self.take()?);
        if usize::try_from(length) == Ok(LENGTH) {
            self.take()
        } else {
            Err(format!("a value of {length} bytes").into())
        }
    }

    /// A text, or none at all.
    fn text(&mut self) -> Result<Option<&'a str>, RowError> {
        let length = i32::from_be_bytes(self.take()?);
        let Ok(length) = usize::try_from(length) else { return Ok(None) };
        let (text, rest) = self.0.split_at_checked(length).ok_or("a row that ends too soon")?;
        self.0 = rest;
        Ok(Some(std::str::from_utf8(text)?))
    }
}
