//! The event log in bulk, through a binary COPY, row by row as stored.

use async_stream::try_stream;
use bytes::{Buf, Bytes};
use futures::{StreamExt, TryStreamExt, stream::BoxStream};
use sqlx::{PgPool, Postgres, pool::PoolConnection};

use crate::{
    copy_format::{END, HEADER, parse_row},
    error::ReadError,
    last_event::LastEvent,
};
use contract::{event::EventType, position::Position, recorded_event::RecordedEvent};

/// A range of the log that is being read.
pub struct Scan {
    rows: BoxStream<'static, sqlx::Result<Bytes>>,
    row: Bytes,
    last: Position,
    /// The last position if every position is read; none if the scan skips positions.
    end: Option<Position>,
}

/// The events after a position, up to another one inclusive.
pub async fn scan(event_store: &PgPool, after: Position, until: Position) -> Result<Scan, ReadError> {
    let rows = format!("position > {after} and position <= {until} order by position");
    Scan::start(event_store, &rows, after, Some(until)).await
}

/// The events after one that the log must still have, up to a position inclusive.
pub async fn scan_following(event_store: &PgPool, last: &LastEvent, until: Position) -> Result<Scan, ReadError> {
    let Some(before) = last.before() else {
        return scan(event_store, last.position, until).await;
    };
    let mut scan = scan(event_store, before, until).await?;
    match scan.next().await? {
        Some(found) => last.verify(&found)?,
        None => return Err(ReadError::CutOff { end: before, after: last.position }),
    }
    Ok(scan)
}

/// The events of one type after a position, up to another one inclusive, at most `limit` of them. They do not show whether
/// the log has a gap.
pub async fn scan_type(
    event_store: &PgPool,
    event_type: EventType,
    after: Position,
    until: Position,
    limit: i64,
) -> Result<Scan, ReadError> {
    let event_type = event_type.name();
    let rows = format!(
        "event_type = '{event_type}' and position > {after} and position <= {until} order by position limit {limit}"
    );
    Scan::start(event_store, &rows, after, None).await
}

/// The first event after a position, at any distance, up to another one inclusive.
pub async fn scan_first(event_store: &PgPool, after: Position, until: Position) -> Result<Scan, ReadError> {
    let rows = format!("position > {after} and position <= {until} order by position limit 1");
    Scan::start(event_store, &rows, after, None).await
}

/// The rows of a statement.
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

/// A connection in the middle of a COPY. Dropped early, it is closed: its next user would take the remaining rows for an
/// answer.
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
    async fn start(
        event_store: &PgPool,
        rows: &str,
        after: Position,
        end: Option<Position>,
    ) -> Result<Self, ReadError> {
        let statement = format!(
            "copy (select position, event_id, recorded_at, schema_version, event_type, data, metadata
                   from event where {rows})
             to stdout (format binary)"
        );
        let rows = self::rows(event_store.acquire().await?, statement);
        Ok(Self { rows, row: Bytes::new(), last: after, end })
    }

    /// The next event; `None` after the last requested one. Unless one type is read, a gap is an error, and so is a log that
    /// ends before.
    pub async fn next(&mut self) -> Result<Option<RecordedEvent<&str>>, ReadError> {
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
            return Err(ReadError::Gap { expected, found: event.position });
        }
        self.last = event.position;
        Ok(Some(event))
    }

    /// The next raw rows, for [`parse_row`]; fewer than `limit` only at the end. Gaps are not checked.
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
        // Postgres sends a message per row. The first one begins with the header, the last one is the trailer.
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
