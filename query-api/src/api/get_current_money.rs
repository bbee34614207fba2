//! `GET /api/get_current_money`: number of sales and revenue since the last reset.

use std::time::Duration;

use axum::{
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use shared::{
    event_log::Position,
    problem::{Problem, Query},
};
use tokio::time::timeout;
use utoipa::IntoParams;

use super::Sources;
use crate::totals::{CurrentMoney, Snapshot};

/// How long a request waits for its position. The projection is some milliseconds behind; whoever is not served by
/// then is better told so.
const MIN_POSITION_WAIT: Duration = Duration::from_secs(5);

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Parameters {
    /// Wait, for at most five seconds, until the totals reflect this log position: read your own writes.
    #[param(value_type = Option<i64>, minimum = 0)]
    min_position: Option<Position>,
}

/// Number of sales and revenue since the last reset
///
/// The `Age` header says how many seconds ago the totals were last known to be complete.
#[utoipa::path(
    get,
    path = "/api/get_current_money",
    params(Parameters),
    responses(
        (status = 200, description = "The totals", body = CurrentMoney, headers(
            ("ETag" = String, description = "Changes with the totals; send it as If-None-Match"),
            ("Age" = u64, description = "Seconds since the totals were last known to be complete"))),
        (status = 304, description = "The totals are still those of If-None-Match"),
        (status = 400, description = "Invalid query parameter", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "No totals yet, or min_position is not reached", body = Problem,
            content_type = "application/problem+json", headers(("Retry-After" = u32, description = "Seconds"))),
    ),
)]
pub async fn get_current_money(
    State(sources): State<Sources>,
    Query(Parameters { min_position }): Query<Parameters>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let snapshot = newest(sources, min_position.unwrap_or_default()).await?;
    let age = HeaderValue::from(snapshot.age().as_secs());
    let common = [
        (header::AGE, age),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        (header::ETAG, snapshot.etag.clone()),
    ];
    if matches(&headers, &snapshot.etag) {
        return Ok((StatusCode::NOT_MODIFIED, common).into_response());
    }
    let json = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
    Ok((common, json, snapshot.body).into_response())
}

/// The newest totals, once they reflect the position.
async fn newest(sources: Sources, min_position: Position) -> Result<Snapshot, Problem> {
    let Sources { mut totals, waiting, .. } = sources;
    let reflects = |snapshot: &Option<Snapshot>| snapshot.as_ref().is_some_and(|known| known.position >= min_position);
    if let Some(known) = totals.borrow().as_ref().filter(|known| known.position >= min_position) {
        return Ok(known.clone());
    }
    let Ok(_place) = waiting.try_acquire() else {
        return Err(Problem::unavailable("Too many requests wait for their min_position. Try again."));
    };
    let reached = timeout(MIN_POSITION_WAIT, totals.wait_for(reflects)).await.ok().and_then(Result::ok);
    if let Some(snapshot) = reached.and_then(|snapshot| snapshot.clone()) {
        return Ok(snapshot);
    }
    Err(Problem::unavailable(match &*totals.borrow() {
        None => "The totals have not been read yet.".to_owned(),
        Some(known) => format!("Position {min_position} is not reflected yet, only {}.", known.position),
    }))
}

/// `If-None-Match` after RFC 9110: a list of entity tags, of which the weak ones count too, or a star.
fn matches(headers: &HeaderMap, etag: &HeaderValue) -> bool {
    let tags =
        headers.get_all(header::IF_NONE_MATCH).iter().flat_map(|value| value.as_bytes().split(|&byte| byte == b','));
    tags.map(<[u8]>::trim_ascii).any(|tag| tag == b"*" || tag.strip_prefix(b"W/").unwrap_or(tag) == etag.as_bytes())
}
