//! The event log in bulk: long stretches of it through a binary COPY, row by row, as it is stored.
//!
//! Source of the format: the documentation of Postgres, COPY, binary format. Numbers are big-endian; `json` is sent as its text;
//! a timestamp is in microseconds from 2000-01-01.

use async_stream::try_stream;
use bytes::{Buf, Bytes};
use chrono::{DateTime, Utc};
use futures::{StreamExt, TryStreamExt, stream::BoxStream};
use sqlx::{PgPool, Postgres, pool::PoolConnection};
use uuid::Uuid;

use crate::{
    event::{DecodeError, Event, EventId, EventType},
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
    /// Where it must end when every position is read; without it, positions may be left out.
    end: Option<Position>,
}

/// The events after a position, up to and with another one.
pub async fn scan(event_store: &PgPool, after: Position, until: Position) -> Result<Scan, ReadError> {
    let statement = format!(
        "copy (select position, event_id, recorded_at, schema_version, event_type, data, metadata
               from event where position > {after} and position <= {until} order by position)
         to stdout (format binary)"
    );
    Ok(Scan { rows: rows(event_store.acquire().await?, statement), row: Bytes::new(), last: after, end: Some(until) })
}

/// The events of one type after a position, up to and with another one, at most `limit` of them. Whether the log has a
/// hole cannot be told from them.
pub async fn scan_type(
    event_store: &PgPool,
    event_type: EventType,
    after: Position,
    until: Position,
    limit: i64,
) -> Result<Scan, ReadError> {
    let event_type = event_type.name();
    let statement = format!(
        "copy (select position, event_id, recorded_at, schema_version, event_type, data, metadata
               from event where event_type = '{event_type}' and position > {after} and position <= {until}
               order by position limit {limit})
         to stdout (format binary)"
    );
    Ok(Scan { rows: rows(event_store.acquire().await?, statement), row: Bytes::new(), last: after, end: None })
}

/// The first event after a position, however far away it is, up to and with another one.
pub async fn scan_first(event_store: &PgPool, after: Position, until: Position) -> Result<Scan, ReadError> {
    let statement = format!(
        "copy (select position, event_id, recorded_at, schema_version, event_type, data, metadata
               from event where position > {after} and position <= {until} order by position limit 1)
         to stdout (format binary)"
    );
    Ok(Scan { rows: rows(event_store.acquire().await?, statement), row: Bytes::new(), last: after, end: None })
}

/// What a statement sends, row by row.
fn rows(connection: PoolConnection<Postgres>, statement: String) -> BoxStream<'static, sqlx::Result<Bytes>> {
    Box::pin(try_stream! {
        let mut reader = Reader { connection, done: false };
        let mut rows = reader.connection.copy_out_raw(&statement).await?;
        while let Some(row) = rows.try_next().await? {
            yield row;
        }
        drop(rows);
        reader.done = true;
    })
}

/// A connection with rows on their way. Whoever stops in the middle leaves some behind, which the next user of the connection
/// would take for an answer: so it is closed then.
struct Reader {
    connection: PoolConnection<Postgres>,
    done: bool,
}

impl Drop for Reader {
    fn drop(&mut self) {
        if !self.done {
            self.connection.close_on_drop();
        }
    }
}

impl Scan {
    /// The next event; `None` after the last one that was asked for. Unless one type is read, a hole is an error, and so is
    /// a log that ends before.
    pub async fn next(&mut self) -> Result<Option<ScannedEvent<'_>>, ReadError> {
        let Some(row) = self.next_row().await? else {
            return match self.end {
                Some(after) if after != self.last => Err(ReadError::CutOff { end: self.last, after }),
                _ => Ok(None),
            };
        };
        self.row = row;
        let event = parse_row(&self.row).map_err(sqlx::Error::Decode)?;
        let expected = self.last.next();
        if self.end.is_some() && event.position != expected {
            return Err(ReadError::Hole { expected, found: event.position });
        }
        self.last = event.position;
        Ok(Some(event))
    }

    /// The next rows as they are, for [`parse_row`]; fewer than asked for only at the end. Whether any are missing is not looked at.
    pub async fn next_rows(&mut self, limit: usize) -> sqlx::Result<Vec<Bytes>> {
        let mut rows = Vec::with_capacity(limit);
        while rows.len() < limit
            && let Some(row) = self.next_row().await?
        {
            rows.push(row);
        }
        Ok(rows)
    }

    async fn next_row(&mut self) -> sqlx::Result<Option<Bytes>> {
        // Postgres sends a message per row. The header comes with the first one, and the last one is only a mark.
        while let Some(mut message) = self.rows.next().await.transpose()? {
            if message.starts_with(HEADER) {
                message.advance(HEADER.len());
            }
            if message != END {
                return Ok(Some(message));
            }
        }
        Ok(None)
    }
}

/// Reads a row.
pub fn parse_row(row: &[u8]) -> Result<ScannedEvent<'_>, RowError> {
    Row(row).event()
}

/// A time, if it is one of those that chrono knows.
pub(crate) fn timestamp(microseconds: i64) -> Option<DateTime<Utc>> {
    microseconds.checked_add(EPOCH_MICROSECONDS).and_then(DateTime::from_timestamp_micros)
}

/// The rest of a row.
struct Row<'a>(&'a [u8]);

pub type RowError = Box<dyn std::error::Error + Send + Sync>;

impl<'a> Row<'a> {
    fn event(mut self) -> Result<ScannedEvent<'a>, RowError> {
        let columns = i16::from_be_bytes(self.take()?);
        if columns != COLUMNS {
            return Err(format!("a row of {columns} columns").into());
        }
        let position = i64::from_be_bytes(self.number()?).try_into()?;
        let event_id = Uuid::from_bytes(self.number()?).into();
        let recorded_at = timestamp(i64::from_be_bytes(self.number()?)).ok_or("a time beyond all times")?;
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
