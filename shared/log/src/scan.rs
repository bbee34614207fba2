//! The event log in bulk: long stretches of it through a binary COPY, row by row, as it is stored.

use async_stream::try_stream;
use bytes::{Buf, Bytes};
use futures::{StreamExt, TryStreamExt, stream::BoxStream};
use sqlx::{PgPool, Postgres, pool::PoolConnection};

use crate::{
    copy_format::{END, HEADER, parse_row},
    error::ReadError,
};
use contract::{event::EventType, position::Position, recorded_event::RecordedEvent};

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
