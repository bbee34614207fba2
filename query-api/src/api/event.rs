//! `GET /api/events/{event}`: a single event of the log.

use std::sync::Arc;

use axum::{
    extract::{Path, State, rejection::PathRejection},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use shared::{
    cloud_event::{self, CloudEvent},
    event_log::{self, Position, RecordedEvent},
    problem::Problem,
};
use uuid::Uuid;

use super::{Sources, etag, log_problem};

/// What happened stays as it is.
const FOREVER: HeaderValue = HeaderValue::from_static("private, max-age=31536000, immutable");

/// A single event of the log
///
/// The body is the line that an export has for this event, without the line break.
#[utoipa::path(
    get,
    path = "/api/events/{event}",
    security(("token" = ["auditor"])),
    params(("event" = String, Path, description = "A log position, or the id of an event, such as a purchase id")),
    responses(
        (status = 200, description = "The event, as a CloudEvent 1.0", body = CloudEvent<'static>,
            content_type = "application/cloudevents+json",
            headers(("ETag" = String, description = "The id of the event"))),
        (status = 304, description = "If-None-Match names the event"),
        (status = 404, description = "No such event", body = Problem, content_type = "application/problem+json"),
        (status = 500, description = "The log is damaged: an alarm for operators", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The event store does not answer", body = Problem,
            content_type = "application/problem+json", headers(("Retry-After" = u32, description = "Seconds"))),
    ),
)]
pub async fn get_event(
    State(sources): State<Arc<Sources>>,
    path: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let event = find(&sources, path).await?;
    let etag = HeaderValue::try_from(format!("\"{}\"", event.event_id)).expect("an id is plain ASCII");
    let common = [(header::CACHE_CONTROL, FOREVER), (header::ETAG, etag.clone())];
    if etag::matches(&headers, &etag) {
        return Ok((StatusCode::NOT_MODIFIED, common).into_response());
    }
    let content_type = [(header::CONTENT_TYPE, HeaderValue::from_static(cloud_event::CONTENT_TYPE))];
    Ok((common, content_type, CloudEvent::from(&event).to_json()).into_response())
}

/// The event that an address names.
pub async fn find(sources: &Sources, path: Result<Path<String>, PathRejection>) -> Result<RecordedEvent, Problem> {
    // What is not even text is the name of no event either.
    let name = path.map(|Path(name)| name).unwrap_or_default();
    let store = &sources.event_store;
    let position = name.parse().ok().and_then(|number: i64| Position::try_from(number).ok());
    let event = match (position, Uuid::try_parse(&name)) {
        (Some(position), _) => event_log::read_at(store, position).await,
        (None, Ok(id)) => event_log::read_by_id(store, id.into()).await,
        (None, Err(_)) => Ok(None),
    };
    event.map_err(|error| log_problem(&error.into()))?.ok_or_else(|| {
        let detail = format!("There is no event with the position or id {name}.");
        Problem::new(StatusCode::NOT_FOUND, "unknown-event", "There is no such event", detail)
    })
}
