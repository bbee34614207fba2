//! Rows of a binary COPY.
//!
//! Source: the documentation of Postgres, COPY, binary format. Numbers are big-endian, `json` is its text, timestamps are
//! microseconds from 2000-01-01.

use chrono::{DateTime, Utc};
use contract::recorded_event::RecordedEvent;
use uuid::Uuid;

/// Signature, flags, and length of the empty header extension.
pub(crate) const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// The trailer, in place of a number of columns.
pub(crate) const END: &[u8] = &(-1_i16).to_be_bytes();
const COLUMNS: i16 = 7;
/// From 1970-01-01 to 2000-01-01, the epoch of Postgres.
const EPOCH_MICROSECONDS: i64 = 946_684_800_000_000;

/// Reads a row.
pub fn parse_row(row: &[u8]) -> Result<RecordedEvent<&str>, RowError> {
    Row(row).event()
}

/// A time, if chrono can represent it.
pub(crate) fn timestamp(microseconds: i64) -> Option<DateTime<Utc>> {
    microseconds.checked_add(EPOCH_MICROSECONDS).and_then(DateTime::from_timestamp_micros)
}

/// The rest of a row.
struct Row<'a>(&'a [u8]);

pub type RowError = Box<dyn std::error::Error + Send + Sync>;

impl<'a> Row<'a> {
    fn event(mut self) -> Result<RecordedEvent<&'a str>, RowError> {
        let columns = i16::from_be_bytes(self.take()?);
        if columns != COLUMNS {
            return Err(format!("a row of {columns} columns").into());
        }
        let position = i64::from_be_bytes(self.number()?).try_into()?;
        let event_id = Uuid::from_bytes(self.number()?).into();
        let recorded_at = timestamp(i64::from_be_bytes(self.number()?)).ok_or("the time is out of range")?;
        let schema_version = i16::from_be_bytes(self.number()?);
        let event_type = self.text()?.ok_or("no event type")?;
        let data = self.text()?.ok_or("no data")?;
        let metadata = self.text()?;
        Ok(RecordedEvent { position, event_id, recorded_at, schema_version, event_type, data, metadata })
    }

    fn take<const LENGTH: usize>(&mut self) -> Result<[u8; LENGTH], RowError> {
        let (taken, rest) = self.0.split_first_chunk().ok_or("the row is truncated")?;
        self.0 = rest;
        Ok(*taken)
    }

    /// A value of fixed length, after its length.
    fn number<const LENGTH: usize>(&mut self) -> Result<[u8; LENGTH], RowError> {
        let length = i32::from_be_bytes(self.take()?);
        if usize::try_from(length) == Ok(LENGTH) {
            self.take()
        } else {
            Err(format!("a value of {length} bytes").into())
        }
    }

    /// A text, or null.
    fn text(&mut self) -> Result<Option<&'a str>, RowError> {
        let length = i32::from_be_bytes(self.take()?);
        let Ok(length) = usize::try_from(length) else { return Ok(None) };
        let (text, rest) = self.0.split_at_checked(length).ok_or("the row is truncated")?;
        self.0 = rest;
        Ok(Some(std::str::from_utf8(text)?))
    }
}
