//! `GET /api/events`: the event log for auditors, page by page, or as an export ([`super::export`]).

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::State,
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse, Response},
};
use contract::cloud_event::CloudEvent;
use event_log::ReadError;
use runtime::http::{
    problem::{Problem, Query},
    server::Hangup,
};
use serde::Serialize;
use sqlx::PgPool;
use utoipa::ToSchema;

use super::{
    export,
    range::{Parameters, Range},
};
use crate::{
    headers::POSITION,
    problems,
    sources::{MAX_EXPORTS, Sources},
};

const DEFAULT_LIMIT: usize = 100;
/// A page of the event log.
#[derive(Serialize, ToSchema)]
struct Page<'a> {
    /// In position order, without gaps unless a type is requested.
    events: Vec<CloudEvent<'a>>,
    /// For each event, its metadata as the text that `metadatahash` is the hash of: JSON with salt, actor, role, trace context and
    /// idempotency key. Null for an event without `metadatahash`.
    #[schema(value_type = Vec<Option<String>>)]
    metadata: Vec<Option<&'a str>>,
    /// Address of the next page; null on the last one.
    next: Option<String>,
}

/// The event log in position order
///
/// `application/json` is a page, and the default. `application/x-ndjson`, for requests whose `Accept` names it with at least the same weight, is an export of the whole range up to the end of the log as of the request: one
/// CloudEvent per line, without `metadata`, with the same bytes as `GET /api/events/{event}`, at the client's speed. A complete export ends with a valid HTTP
/// message end; a failed one is aborted. To resume, pass the position of the last complete line as `after`: the bytes that follow are the
/// same as in an uninterrupted export. The connection of a client that reads less than a megabyte in a minute is closed, and after an
/// hour the proxy closes it.
#[utoipa::path(
    get,
    path = "/api/events",
    security(("token" = ["auditor"])),
    params(Parameters),
    responses(
        (status = 200, description = "A part of the log, as CloudEvents 1.0", content(
            (Page = "application/json"),
            (String = "application/x-ndjson")),
            headers(
            ("Link" = String, description = "Address of the next page with rel=\"next\", if there is one"),
            ("Sales-Position" = i64, description = "Log position that the response and its next pages reflect: the requested end, or that of the log"),
            ("Vary" = String, description = "Accept, which selects the media type"))),
        (status = 400, description = "Invalid query parameter"),
        (status = 500, description = "The log is damaged; operators are alerted"),
        (status = 503, description = "The event store is unreachable, or too many exports are in progress"),
    ),
)]
pub async fn get_events(
    State(sources): State<Arc<Sources>>,
    Query(parameters): Query<Parameters>,
    Extension(hangup): Extension<Hangup>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let as_lines = export::is_wanted(&headers);
    parameters.check(as_lines)?;
    let mut response = if as_lines {
        let Ok(place) = Arc::clone(&sources.exports).try_acquire_owned() else {
            let detail = format!("{MAX_EXPORTS} exports are already in progress. Try again when one has ended.");
            return Err(Problem::unavailable(detail));
        };
        let range = parameters.range(&sources.event_store).await.map_err(problems::event_store)?;
        export::lines(sources.event_store.clone(), range, parameters.limit, place, hangup).await?
    } else {
        page(&sources.event_store, parameters).await.map_err(problems::event_store)?
    };
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("accept"));
    Ok(response)
}

async fn page(store: &PgPool, parameters: Parameters) -> Result<Response, ReadError> {
    let Range { after, until, event_type, position } = parameters.range(store).await?;
    let limit = parameters.limit.unwrap_or(DEFAULT_LIMIT);
    let events = if let Some(event_type) = event_type {
        event_log::read_type(store, event_type, after, until, limit).await?
    } else {
        // Positions have no gaps, so the number of events determines the end.
        let all = usize::try_from(until.get() - after.get()).unwrap_or(0);
        event_log::read_after(store, after, limit.min(all)).await?
    };
    let last = events.last().filter(|last| events.len() == limit && last.position < until);
    let next = last.map(|last| parameters.address_after(last.position));
    let link = next.as_ref().map(|next| {
        let link = HeaderValue::try_from(format!("<{next}>; rel=\"next\""));
        [(header::LINK, link.expect("the address is plain ASCII"))]
    });
    let metadata = events.iter().map(|event| event.metadata.as_deref());
    let events: Vec<CloudEvent<'_>> = events.iter().map(CloudEvent::try_from).collect::<Result<_, _>>()?;
    let metadata = metadata.zip(&events).map(|(metadata, event)| metadata.filter(|_| event.metadatahash.is_some()));
    let page = Page { metadata: metadata.collect(), events, next };
    Ok((link, [(POSITION, HeaderValue::from(position.get()))], Json(page)).into_response())
}
