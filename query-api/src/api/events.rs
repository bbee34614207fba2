//! `GET /api/events`: the event log, page by page, for auditors.

use axum::{Json, extract::State, response::IntoResponse, response::Response};
use serde::{Deserialize, Serialize};
use shared::{
    cloud_event::CloudEvent,
    event_log::{self, Position},
    problem::{Problem, Query},
};
use utoipa::{IntoParams, ToSchema};

use super::{Sources, log_problem};

const DEFAULT_LIMIT: usize = 100;
/// Keeps a page below a megabyte.
const MAX_LIMIT: usize = 1000;

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Parameters {
    /// The page starts behind this log position.
    #[serde(default)]
    #[param(value_type = Option<i64>, minimum = 0, default = 0)]
    after: Position,
    /// Events on the page.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<usize>,
}

/// A page of the event log.
#[derive(Serialize, ToSchema)]
struct Page<'a> {
    /// In position order, without a hole.
    events: Vec<CloudEvent<'a>>,
    /// Address of the next page; null at the end of the log.
    next: Option<String>,
}

/// The event log in position order
#[utoipa::path(
    get,
    path = "/api/events",
    params(Parameters),
    responses(
        (status = 200, description = "A page of the log, as CloudEvents 1.0", body = Page),
        (status = 400, description = "Invalid query parameter", body = Problem, content_type = "application/problem+json"),
        (status = 500, description = "The log is damaged: an alarm for operators", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The event store does not answer", body = Problem,
            content_type = "application/problem+json", headers(("Retry-After" = u32, description = "Seconds"))),
    ),
)]
pub async fn get_events(
    State(sources): State<Sources>,
    Query(Parameters { after, limit }): Query<Parameters>,
) -> Result<Response, Problem> {
    let limit = limit.unwrap_or(DEFAULT_LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        let detail = format!("limit is a number from 1 to {MAX_LIMIT}.");
        return Err(Problem::bad_request(
            "invalid-query",
            "The query parameters do not have the expected shape",
            detail,
        ));
    }
    let events =
        event_log::read_after(&sources.event_store, after, limit).await.map_err(|error| log_problem(&error))?;
    // A full page may be the last one as well; the next one is empty then.
    let next = events
        .last()
        .filter(|_| events.len() == limit)
        .map(|last| format!("/api/events?after={}&limit={limit}", last.position));
    let page = Page { events: events.iter().map(CloudEvent::from).collect(), next };
    Ok(Json(page).into_response())
}
