//! The event log as `application/x-ndjson`: of any length, in constant memory, at the client's speed.
//!
//! It is read in chunks. Each is a statement of its own, and the connection is released before the chunk is sent. A single statement
//! would hold its snapshot until the client is done, and Postgres would have to keep every version of the `head` row since then: each
//! append would take longer than the one before.

use std::future::ready;

use axum::{
    body::Body,
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use contract::cloud_event::CloudEvent;
use event_log::{
    ReadError,
    scan::{scan, scan_type},
};
use futures::{StreamExt, stream};
use runtime::{http::problem::Problem, log_limits::Sampler};
use sqlx::PgPool;
use tokio::{
    sync::OwnedSemaphorePermit,
    task::{JoinError, JoinHandle},
};
use tracing::error;

use super::{accept, range::Range};
use crate::{headers::POSITION, problems};

/// Events per chunk: about two megabytes, read in some ten milliseconds.
const CHUNK_EVENTS: i64 = 5000;
const CONTENT_TYPE: &str = "application/x-ndjson";

/// Why an export is aborted.
#[derive(Debug, thiserror::Error)]
enum ExportError {
    #[error(transparent)]
    Log(#[from] ReadError),
    #[error("reading the log panicked: {0}")]
    Panicked(#[from] JoinError),
}

/// The rest of an export.
struct Export {
    store: PgPool,
    range: Range,
    /// Events left of the limit.
    left: i64,
    _place: OwnedSemaphorePermit,
}

/// Lines to be sent, and the rest of the export.
type Chunk = (Bytes, Option<Export>);

/// Whether the client prefers the format to a page.
pub fn is_wanted(headers: &HeaderMap) -> bool {
    accept::prefers(headers, CONTENT_TYPE, "application/json")
}

/// The events of a range, one per line.
pub async fn lines(
    store: PgPool,
    range: Range,
    limit: Option<usize>,
    place: OwnedSemaphorePermit,
) -> Result<Response, Problem> {
    let position = HeaderValue::from(range.position.get());
    let left = limit.map_or(i64::MAX, |limit| i64::try_from(limit).unwrap_or(i64::MAX));
    let export = Export { store, range, left, _place: place };
    // Read before the response starts, so that an unreadable log is answered with a problem.
    let (first, rest) = export.chunk().await.map_err(|error| match error {
        ExportError::Log(error) => problems::event_store(error),
        error @ ExportError::Panicked(_) => {
            log_failure(&error);
            Problem::internal()
        }
    })?;
    // An error makes the server abort the connection, so that an incomplete export never looks complete.
    let others = stream::try_unfold(rest.map(read_ahead), async |ahead| {
        let Some(ahead) = ahead else { return Ok(None) };
        let chunk = ahead.await.map_err(ExportError::from).flatten();
        let (lines, rest) = chunk.inspect_err(log_failure)?;
        Ok::<_, ExportError>(Some((lines, rest.map(read_ahead))))
    });
    let body = Body::from_stream(stream::once(ready(Ok(first))).chain(others));
    let content_type = HeaderValue::from_static(CONTENT_TYPE);
    Ok(([(header::CONTENT_TYPE, content_type), (POSITION, position)], body).into_response())
}

fn log_failure(error: &ExportError) {
    static SAMPLER: Sampler = Sampler::new();
    if let Some(left_out) = SAMPLER.admit() {
        error!(%error, left_out, "Export failed");
    }
}

/// Reads the next chunk while the previous one is sent, and no further.
fn read_ahead(export: Export) -> JoinHandle<Result<Chunk, ExportError>> {
    tokio::spawn(export.chunk())
}

impl Export {
    async fn chunk(mut self) -> Result<Chunk, ExportError> {
        let Range { after, until, event_type, .. } = self.range;
        let count = self.left.min(CHUNK_EVENTS);
        let mut scan = match event_type {
            None => scan(&self.store, after, until.min(after.plus(count))).await?,
            Some(event_type) => scan_type(&self.store, event_type, after, until, count).await?,
        };
        let (mut lines, mut events) = (Vec::new(), 0);
        while let Some(event) = scan.next().await? {
            let position = event.position;
            let event = CloudEvent::try_from(&event).map_err(ReadError::from)?;
            lines.extend_from_slice(&event.to_json());
            lines.push(b'\n');
            self.range.after = position;
            events += 1;
        }
        self.left -= events;
        let is_last = events < count || self.left == 0 || self.range.after >= until;
        Ok((lines.into(), (!is_last).then_some(self)))
    }
}
