//! `GET /api/log/tile/{level}/{index}`: hashes of the Merkle tree.

use std::sync::Arc;

use axum::{
    extract::{Path, State, rejection::PathRejection},
    http::{HeaderValue, header},
    response::IntoResponse,
};
use event_log::transparency;
use runtime::http::problem::Problem;

use super::tile_name::{self, TileName};
use crate::{headers, problems, sources::Sources};

const HASH_BYTES: usize = 32;

/// Hashes of the Merkle tree, for clients of C2SP tlog-tiles
///
/// Up to 256 hashes of 32 bytes, one after the other. They never change. If the operator has made the log public, it needs no token.
#[utoipa::path(
    get,
    path = "/api/log/tile/{level}/{*index}",
    security(("token" = ["auditor"])),
    params(
        ("level" = u8, Path, description = "Level of the tile, from 0, whose hashes are those of the events", maximum = 63),
        ("index" = String, Path, description = "Number of the tile on its level, in elements of three digits, all but the last one after an x: \
            `x001/x234/067`. A partial tile is followed by the number of its hashes: `067.p/12`."),
    ),
    responses(
        (status = 200, description = "The hashes", body = String, content_type = "application/octet-stream"),
        (status = 404, description = "The tree has no such tile"),
        (status = 503, description = "The read model is unreachable, or no checkpoint is signed yet"),
    ),
)]
pub async fn get_tile(
    State(sources): State<Arc<Sources>>,
    path: Result<Path<(String, String)>, PathRejection>,
) -> Result<impl IntoResponse, Problem> {
    let Path((level, index)) = path.map_err(|_| tile_name::unknown())?;
    let TileName { id, width } = TileName::parse(&level, &index).ok_or_else(tile_name::unknown)?;
    let (_, note) = transparency::head(&sources.read_model).await.map_err(problems::transparency_log)?;
    note.ok_or_else(|| Problem::unavailable("No checkpoint of the log is signed yet."))?;
    let mut tiles = transparency::tiles(&sources.read_model, &[id]).await.map_err(problems::transparency_log)?;
    let mut hashes = tiles.remove(&id).unwrap_or_default();
    if hashes.len() < width * HASH_BYTES {
        return Err(tile_name::unknown());
    }
    hashes.truncate(width * HASH_BYTES);
    // Other caches than the client's may keep only what every caller may read.
    let forever = if sources.log.public_log {
        HeaderValue::from_static("public, max-age=31536000, immutable")
    } else {
        headers::FOREVER
    };
    Ok(([(header::CACHE_CONTROL, forever)], hashes))
}
