//! `GET /api/events/{event}`: a single event of the log.

use std::{fmt, sync::Arc};

use axum::{
    extract::{Path, State, rejection::PathRejection},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use contract::{
    cloud_event::{self, CloudEvent},
    event::EventId,
    position::Position,
    recorded_event::RecordedEvent,
};
use runtime::http::problem::Problem;
use uuid::Uuid;

use crate::{
    headers::{FOREVER, if_none_match},
    problems,
    sources::Sources,
};

/// A single event of the log
///
/// The body equals the line of this event in an export, without the line break.
#[utoipa::path(
    get,
    path = "/api/events/{event}",
    security(("token" = ["auditor"])),
    params(("event" = String, Path, description = "Log position or id of the event; the id of a purchase is the purchase id")),
    responses(
        (status = 200, description = "The event, as a CloudEvent 1.0", body = CloudEvent<'static>,
            content_type = "application/cloudevents+json",
            headers(("ETag" = String, description = "Id of the event"))),
        (status = 304, description = "If-None-Match names the event"),
        (status = 404, description = "Unknown event"),
        (status = 500, description = "The log is damaged; operators are alerted"),
        (status = 503, description = "The event store is unreachable"),
    ),
)]
pub async fn get_event(
    State(sources): State<Arc<Sources>>,
    path: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let event = find(&sources, Name::of(path)?).await?;
    let etag = HeaderValue::try_from(format!("\"{}\"", event.event_id)).expect("an id is plain ASCII");
    let common = [(header::CACHE_CONTROL, FOREVER), (header::ETAG, etag.clone())];
    if if_none_match(&headers, &etag) {
        return Ok((StatusCode::NOT_MODIFIED, common).into_response());
    }
    Ok((common, [(header::CONTENT_TYPE, cloud_event::CONTENT_TYPE)], line(&event)?).into_response())
}

/// The line that an export has for an event.
pub fn line(event: &RecordedEvent) -> Result<Vec<u8>, Problem> {
    CloudEvent::try_from(event).map(|event| event.to_json()).map_err(problems::event_store)
}

/// How a path names an event. All endpoints parse it here, so that none takes for a position what another takes for an id.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Name {
    /// Can be guessed.
    Position(Position),
    /// For a purchase, known only to its buyer.
    Id(EventId),
}

impl Name {
    /// Only the canonical form is a position: otherwise 32 digits would be both a position and a UUID.
    fn parse(text: &str) -> Option<Self> {
        let position = text.parse().ok().and_then(|number: i64| Position::try_from(number).ok());
        match position.filter(|position| position.to_string() == text) {
            Some(position) => Some(Self::Position(position)),
            None => Uuid::try_parse(text).ok().map(|id| Self::Id(id.into())),
        }
    }

    /// From the path. A path that is not UTF-8 names no event.
    pub fn of(path: Result<Path<String>, PathRejection>) -> Result<Self, Problem> {
        let text = path.map(|Path(text)| text).unwrap_or_default();
        Self::parse(&text).ok_or_else(|| unknown(&text))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Position(position) => position.fmt(f),
            Self::Id(id) => id.fmt(f),
        }
    }
}

/// The event of that name.
pub async fn find(sources: &Sources, name: Name) -> Result<RecordedEvent, Problem> {
    let event = match name {
        Name::Position(position) => event_log::read_at(&sources.event_store, position).await,
        Name::Id(id) => event_log::read_by_id(&sources.event_store, id).await,
    };
    event.map_err(problems::event_store)?.ok_or_else(|| unknown(name))
}

pub fn unknown(name: impl fmt::Display) -> Problem {
    let detail = format!("There is no event with the position or id {name}.");
    Problem::new(StatusCode::NOT_FOUND, "unknown-event", "Unknown event", detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_position_or_an_id_but_never_both() {
        let position = |number: i64| Some(Name::Position(number.try_into().unwrap()));
        let id = |text: &str| Some(Name::Id(text.parse::<Uuid>().unwrap().into()));
        assert_eq!(Name::parse("0"), position(0));
        assert_eq!(Name::parse("17"), position(17));
        assert_eq!(Name::parse("9223372036854775807"), position(i64::MAX));
        for one in ["00000000000000000000000000000001", "00000000-0000-0000-0000-000000000001"] {
            assert_eq!(Name::parse(one), id(one));
        }
        for none in ["", "-1", "+1", "01", "007", " 1", "1.0", "9223372036854775808", "purchase", "%31"] {
            assert_eq!(Name::parse(none), None, "{none:?}");
        }
    }
}
