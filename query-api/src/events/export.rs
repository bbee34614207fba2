//! The event log as `application/x-ndjson`: of any length, in constant memory, at the client's speed.
//!
//! It is read in chunks. Each is a statement of its own, and the connection is released before the chunk is sent. A single statement
//! would hold its snapshot until the client is done, and Postgres would have to keep every version of the `head` row since then: each
//! append would take longer than the one before.

use std::{
    future::ready,
    sync::{
        Arc, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

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
use futures::{Stream, StreamExt, TryStreamExt, stream};
use runtime::{
    http::{problem::Problem, server::Hangup},
    log_limits::Sampler,
};
use sqlx::PgPool;
use tokio::{
    sync::OwnedSemaphorePermit,
    task::{JoinError, JoinHandle},
    time::sleep,
};
use tracing::{error, info};

use super::{accept, range::Range};
use crate::{headers::POSITION, problems};

/// Events per chunk: about two megabytes, read in some ten milliseconds.
const CHUNK_EVENTS: i64 = 5000;
/// The server takes a piece when the client has read most of the ones before.
const PIECE_BYTES: usize = 64 * 1024;
/// How much a client must read in each window: some 17 kilobytes per second. The buffers of a proxy empty in steps of about a megabyte.
const MIN_BYTES_PER_WINDOW: usize = 1024 * 1024;
const WINDOW: Duration = Duration::from_mins(1);
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
    hangup: Hangup,
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
    let chunks = stream::once(ready(Ok(first))).chain(others);
    let sent = chunks.map_ok(|chunk| stream::iter(pieces(chunk)).map(Ok::<_, ExportError>)).try_flatten();
    let content_type = HeaderValue::from_static(CONTENT_TYPE);
    Ok(([(header::CONTENT_TYPE, content_type), (POSITION, position)], body(sent, hangup)).into_response())
}

/// The body of an export. The connection of a client that reads it too slowly is ended.
fn body(pieces: impl Stream<Item = Result<Bytes, ExportError>> + Send + 'static, hangup: Hangup) -> Body {
    let progress = Arc::new(AtomicUsize::new(0));
    tokio::spawn(hang_up_on_slow_reader(Arc::downgrade(&progress), hangup));
    Body::from_stream(pieces.inspect_ok(move |piece| {
        progress.fetch_add(piece.len(), Ordering::Relaxed);
    }))
}

/// Whole lines, as a client that reads slowly gets them.
fn pieces(mut chunk: Bytes) -> impl Iterator<Item = Bytes> {
    std::iter::from_fn(move || {
        let most = chunk.len().min(PIECE_BYTES);
        let end = chunk[..most].iter().rposition(|byte| *byte == b'\n').map_or(most, |last| last + 1);
        (end > 0).then(|| chunk.split_to(end))
    })
}

/// Ends the connection once the client has read too little within a window. `progress` exists as long as the body.
async fn hang_up_on_slow_reader(progress: Weak<AtomicUsize>, hangup: Hangup) {
    loop {
        sleep(WINDOW).await;
        let Some(progress) = progress.upgrade() else { return };
        if progress.swap(0, Ordering::Relaxed) < MIN_BYTES_PER_WINDOW {
            static SAMPLER: Sampler = Sampler::new();
            if let Some(left_out) = SAMPLER.admit() {
                info!(left_out, "Export ended: its client reads too slowly");
            }
            return hangup.hang_up();
        }
    }
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

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    #[test]
    fn a_chunk_is_handed_over_in_pieces_of_whole_lines() {
        let chunk = Bytes::from(b"{\"position\":1}\n".repeat(20_000));
        let all: Vec<Bytes> = pieces(chunk.clone()).collect();
        assert!(all.len() > 1 && all.iter().all(|piece| piece.len() <= PIECE_BYTES && piece.ends_with(b"\n")));
        assert_eq!(all.concat(), chunk);
        assert_eq!(pieces(Bytes::new()).count(), 0);
        let long = Bytes::from(vec![b'x'; PIECE_BYTES + 1]);
        assert_eq!(pieces(long.clone()).collect::<Vec<_>>().concat(), long);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_reads_too_slowly_is_disconnected() {
        let lengths = [MIN_BYTES_PER_WINDOW, 5 * MIN_BYTES_PER_WINDOW, MIN_BYTES_PER_WINDOW - 1];
        let pieces = stream::iter(lengths.map(|length| Ok(Bytes::from(vec![b'\n'; length]))));
        let hangup = Hangup::default();
        let mut body = body(pieces, hangup.clone()).into_data_stream();
        for _ in lengths {
            assert!(timeout(WINDOW / 2, hangup.hung_up()).await.is_err(), "it has read enough so far");
            body.next().await.unwrap().unwrap();
            sleep(WINDOW / 2 + Duration::from_millis(1)).await;
        }
        timeout(WINDOW, hangup.hung_up()).await.expect("it has read too little");
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_kept_after_its_export() {
        let (progress, hangup) = (Arc::new(AtomicUsize::new(0)), Hangup::default());
        let watch = tokio::spawn(hang_up_on_slow_reader(Arc::downgrade(&progress), hangup.clone()));
        drop(progress);
        watch.await.unwrap();
        assert!(timeout(WINDOW, hangup.hung_up()).await.is_err(), "the next request may use it");
    }
}
