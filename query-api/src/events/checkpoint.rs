//! `GET /api/events/checkpoint`: the newest signed checkpoint of the log, or an earlier one.

use std::sync::Arc;

use axum::{
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use contract::position::Position;
use event_log::transparency;
use runtime::http::problem::{Problem, Query};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::{headers::REVALIDATE, problems, sources::Sources};

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Parameters {
    /// Size of the tree: the checkpoint that ends at this position, if it is kept. By default the newest.
    #[param(value_type = Option<i64>, minimum = 1)]
    size: Option<Position>,
}

/// A signed checkpoint
///
/// Number of events in the log and root of the Merkle tree over them, as a signed note (C2SP tlog-checkpoint). With a stored
/// checkpoint, a client can verify later that the log still begins with these events. Events are covered within a second of their commit.
/// If the operator has made the log public, it needs no token.
#[utoipa::path(
    get,
    path = "/api/events/checkpoint",
    security(("token" = ["auditor"])),
    params(Parameters),
    responses(
        (status = 200, description = "The signed note", body = String, content_type = "text/plain"),
        (status = 400, description = "Invalid query parameter"),
        (status = 404, description = "No checkpoint of this size is kept; the detail names the nearest ones. Kept are the newest, and the last one \
            of each minute"),
        (status = 503, description = "The read model is unreachable, or no checkpoint is signed yet"),
    ),
)]
pub async fn get_checkpoint(
    State(sources): State<Arc<Sources>>,
    Query(Parameters { size }): Query<Parameters>,
) -> Result<Response, Problem> {
    match size {
        Some(size) => past(&sources, size).await,
        None => newest(&sources).await,
    }
}

/// The answer with the checkpoint of a size.
async fn past(sources: &Sources, size: Position) -> Result<Response, Problem> {
    let select = "select (select checkpoint from past_checkpoint where position = $1),
                      (select max(position) from past_checkpoint where position < $1),
                      (select min(position) from past_checkpoint where position > $1)";
    let found = sqlx::query_as(select).bind(size.get()).fetch_one(&sources.read_model).await;
    let (note, before, after): (Option<String>, Option<i64>, Option<i64>) =
        found.map_err(|error| problems::read_model(&error))?;
    if let Some(note) = note {
        return Ok(([(header::CACHE_CONTROL, REVALIDATE)], note).into_response());
    }
    let nearest: Vec<_> = before.into_iter().chain(after).map(|size| size.to_string()).collect();
    let nearest = if nearest.is_empty() { "none at all".to_owned() } else { nearest.join(" and ") };
    let detail = format!("No checkpoint of size {size} is kept. The nearest sizes: {nearest}.");
    Err(Problem::new(StatusCode::NOT_FOUND, "unknown-checkpoint", "Unknown checkpoint", detail))
}

/// The answer with the newest checkpoint.
pub async fn newest(sources: &Sources) -> Result<Response, Problem> {
    let (_, note) = transparency::head(&sources.read_model).await.map_err(problems::transparency_log)?;
    let note = note.ok_or_else(|| Problem::unavailable("No checkpoint of the log is signed yet."))?;
    Ok(([(header::CACHE_CONTROL, REVALIDATE)], note).into_response())
}
