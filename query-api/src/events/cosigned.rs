//! `GET /api/events/checkpoint/cosigned`: the newest checkpoint that a quorum of witnesses has cosigned.

use std::sync::Arc;

use axum::{
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use event_log::transparency;
use runtime::http::problem::Problem;

use crate::{headers::REVALIDATE, problems, sources::Sources};

/// The newest cosigned checkpoint
///
/// A signed note as the newest checkpoint is one, with the cosignatures of witnesses (C2SP tlog-cosignature). It is some seconds older.
/// If the operator has made the log public, it needs no token.
#[utoipa::path(
    get,
    path = "/api/events/checkpoint/cosigned",
    security(("token" = ["auditor"])),
    responses(
        (status = 200, description = "The signed note with the cosignatures", body = String, content_type = "text/plain"),
        (status = 404, description = "No checkpoint is cosigned"),
        (status = 503, description = "The read model is unreachable"),
    ),
)]
pub async fn get_cosigned_checkpoint(State(sources): State<Arc<Sources>>) -> Result<Response, Problem> {
    let note = transparency::cosigned(&sources.read_model).await.map_err(problems::transparency_log)?;
    let note = note.ok_or_else(|| {
        let detail =
            "No checkpoint of the log is cosigned: it has no witnesses, or too few of them have cosigned one yet.";
        Problem::new(StatusCode::NOT_FOUND, "not-cosigned", "No cosigned checkpoint", detail)
    })?;
    Ok(([(header::CACHE_CONTROL, REVALIDATE)], note).into_response())
}
