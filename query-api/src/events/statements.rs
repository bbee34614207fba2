//! `GET /api/events/statements`: signed statements of operators on the log.

use std::sync::Arc;

use axum::{
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use event_log::transparency;
use runtime::http::problem::Problem;

use crate::{headers::REVALIDATE, problems, sources::Sources};

/// Statements of operators on the log
///
/// Why the log continues although something about its checkpoints is missing, such as a restore from a backup, each as a signed note;
/// empty if there are none. If the operator has made the log public, it needs no token.
#[utoipa::path(
    get,
    path = "/api/events/statements",
    security(("token" = ["auditor"])),
    responses(
        (status = 200, description = "The signed notes, one after the other", body = String, content_type = "text/plain"),
        (status = 503, description = "The read model is unreachable"),
    ),
)]
pub async fn get_statements(State(sources): State<Arc<Sources>>) -> Result<Response, Problem> {
    let notes = transparency::statements(&sources.read_model).await.map_err(problems::transparency_log)?;
    Ok(([(header::CACHE_CONTROL, REVALIDATE)], notes.concat()).into_response())
}
