//! The event log as `application/x-ndjson`: as long as it is, in constant memory, at the pace of whoever reads it.
//!
//! It is read in stretches, each by a statement of its own on a connection that goes back before a byte of it is sent. A
//! statement as long as the export would hold its snapshot for as long as the client likes, and Postgres would have to keep
//! every version of the `head` row since then: each append would take longer than the one before.

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
use runtime::http::problem::Problem;
use sqlx::PgPool;
use tokio::{
    sync::OwnedSemaphorePermit,
    task::{JoinError, JoinHandle},
};
use tracing::error;

use super::range::Range;
use crate::{headers::POSITION, problems, sources::MAX_EXPORTS};

/// Events that are read at once: about two megabytes and some ten milliseconds.
const STRETCH: i64 = 5000;
const CONTENT_TYPE: &str = "application/x-ndjson";

/// Why an export ends before its end.
#[derive(Debug, thiserror::Error)]
enum ExportError {
    #[error(transparent)]
    Log(#[from] ReadError),
    #[error("reading the log ended in a panic: {0}")]
    Panicked(#[from] JoinError),
}

/// What is still to be sent.
struct Export {
    store: PgPool,
    range: Range,
    /// Events that may still be sent.
    left: i64,
    /// Given back when the export ends, whichever way.
    _place: OwnedSemaphorePermit,
}

/// Lines that can be sent, and what is to be read behind them.
type Stretch = (Bytes, Option<Export>);

/// Whether the client names the format at all: nobody does by accident.
pub fn is_wanted(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accepted
        .flat_map(|value| value.split(','))
        .filter_map(|range| range.split(';').next())
        .any(|media_type| media_type.trim().eq_ignore_ascii_case(CONTENT_TYPE))
}

pub fn too_many() -> Problem {
    Problem::unavailable(format!("{MAX_EXPORTS} exports are being sent already. Try again when one has ended."))
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
    // Read before the answer begins, so that a log that cannot be read at all is still a problem.
    let (first, rest) = export.stretch().await.map_err(|error| match error {
        ExportError::Log(error) => problems::event_store(&error),
        error @ ExportError::Panicked(_) => {
            error!(%error, "The event log cannot be exported");
            Problem::internal()
        }
    })?;
    // An error instead of an end makes the server break the connection off: what is cut off never looks complete.
    let others = stream::try_unfold(rest.map(read_ahead), async |ahead| {
        let Some(ahead) = ahead else { return Ok(None) };
        let stretch = ahead.await.map_err(ExportError::from).flatten();
        let (lines, rest) = stretch.inspect_err(|error| error!(%error, "An export is cut off"))?;
        Ok::<_, ExportError>(Some((lines, rest.map(read_ahead))))
    });
    let body = Body::from_stream(stream::once(ready(Ok(first))).chain(others));
    let content_type = HeaderValue::from_static(CONTENT_TYPE);
    Ok(([(header::CONTENT_TYPE, content_type), (POSITION, position)], body).into_response())
}

/// Reads the next stretch while the one before is sent, and no further.
fn read_ahead(export: Export) -> JoinHandle<Result<Stretch, ExportError>> {
    tokio::spawn(export.stretch())
}

impl Export {
    async fn stretch(mut self) -> Result<Stretch, ExportError> {
        let Range { after, until, event_type, .. } = self.range;
        let count = self.left.min(STRETCH);
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
