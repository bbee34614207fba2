//! `GET /api/events/checkpoint`: the newest signed checkpoint of the log.

use std::sync::Arc;

use axum::{
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use event_log::transparency;
use runtime::http::problem::Problem;

use crate::{headers::REVALIDATE, problems, sources::Sources};

/// The newest signed checkpoint
///
/// Number of events in the log and root of the Merkle tree over them, as a signed note (C2SP tlog-checkpoint). With a stored
/// checkpoint, a client can verify later that the log still begins with these events. Events are covered within a second of their commit.
/// If the operator has made the log public, it needs no token.
#[utoipa::path(
    get,
    path = "/api/events/checkpoint",
    security(("token" = ["auditor"])),
    responses(
        (status = 200, description = "The signed note", body = String, content_type = "text/plain"),
        (status = 503, description = "The read model is unreachable, or no checkpoint is signed yet"),
    ),
)]
pub async fn get_checkpoint(State(sources): State<Arc<Sources>>) -> Result<Response, Problem> {
    newest(&sources).await
}

/// The answer with the newest checkpoint.
pub async fn newest(sources: &Sources) -> Result<Response, Problem> {
    let (_, note) = transparency::head(&sources.read_model).await.map_err(problems::transparency_log)?;
    let note = note.ok_or_else(|| Problem::unavailable("No checkpoint of the log is signed yet."))?;
    Ok(([(header::CACHE_CONTROL, REVALIDATE)], note).into_response())
}
