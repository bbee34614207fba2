//! `GET /api/log/checkpoint`: the newest signed checkpoint, where clients of C2SP tlog-tiles expect it.

use std::sync::Arc;

use axum::{extract::State, response::Response};
use runtime::http::problem::Problem;

use crate::{events::checkpoint, sources::Sources};

/// The newest signed checkpoint, for clients of C2SP tlog-tiles
///
/// The same as `/api/events/checkpoint`. If the operator has made the log public, it needs no token.
#[utoipa::path(
    get,
    path = "/api/log/checkpoint",
    security(("token" = ["auditor"])),
    responses(
        (status = 200, description = "The signed note", body = String, content_type = "text/plain"),
        (status = 503, description = "The read model is unreachable, or no checkpoint is signed yet"),
    ),
)]
pub async fn get_log_checkpoint(State(sources): State<Arc<Sources>>) -> Result<Response, Problem> {
    checkpoint::newest(&sources).await
}
