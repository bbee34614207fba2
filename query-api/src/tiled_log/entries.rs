//! `GET /api/log/tile/entries/{index}`: the lines of the log, in bundles.

use std::sync::Arc;

use axum::{
    extract::{Path, State, rejection::PathRejection},
    http::header,
    response::IntoResponse,
};
use contract::position::Position;
use event_log::ReadError;
use runtime::{http::problem::Problem, log_limits::Sampler};
use tracing::error;

use super::tile_name::{self, TileName};
use crate::{
    events::{get::line, signed_tree::SignedTree},
    headers, problems,
    sources::Sources,
};

/// Entries of the log, for clients of C2SP tlog-tiles
///
/// Up to 256 events, each as the line of an export, after its length in bytes as a 16-bit number (big-endian). They never change.
#[utoipa::path(
    get,
    path = "/api/log/tile/entries/{*index}",
    security(("token" = ["auditor"])),
    params(("index" = String, Path, description = "Number of the bundle, written as that of a tile: `x001/234` or `000.p/12`")),
    responses(
        (status = 200, description = "The entries", body = String, content_type = "application/octet-stream"),
        (status = 404, description = "The signed log has no such bundle"),
        (status = 500, description = "The log is damaged, or an event exceeds 65,535 bytes, which the format cannot hold; operators are alerted"),
        (status = 503, description = "A database is unreachable, or no checkpoint is signed yet"),
    ),
)]
pub async fn get_entries(
    State(sources): State<Arc<Sources>>,
    path: Result<Path<String>, PathRejection>,
) -> Result<impl IntoResponse, Problem> {
    let Path(index) = path.map_err(|_| tile_name::unknown())?;
    let bundle = TileName::parse("0", &index).ok_or_else(tile_name::unknown)?;
    let after = bundle.first_leaf().ok_or_else(tile_name::unknown)?;
    let end = after.plus(i64::try_from(bundle.width).expect("at most 256"));
    let signed = SignedTree::read(&sources).await?.position();
    if end > signed {
        return Err(tile_name::unknown());
    }
    let events =
        event_log::read_after(&sources.event_store, after, bundle.width).await.map_err(problems::event_store)?;
    let last = events.last().map_or(after, |event| event.position);
    if last < end {
        return Err(problems::event_store(ReadError::CutOff { end: last, after: signed }));
    }
    let mut entries = Vec::new();
    for event in &events {
        let line = line(event)?;
        let length = u16::try_from(line.len()).map_err(|_| too_long(event.position))?;
        entries.extend_from_slice(&length.to_be_bytes());
        entries.extend_from_slice(&line);
    }
    Ok(([(header::CACHE_CONTROL, headers::FOREVER)], entries))
}

fn too_long(position: Position) -> Problem {
    static SAMPLER: Sampler = Sampler::new();
    if let Some(left_out) = SAMPLER.admit() {
        error!(position = position.get(), left_out, "An event exceeds 65,535 bytes: no entry bundle can hold it");
    }
    Problem::internal()
}
