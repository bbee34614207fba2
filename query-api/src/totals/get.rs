//! `GET /api/get_current_money`: number of sales and revenue since the last reset, now or as they were.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use chrono::{DateTime, Utc};
use contract::position::Position;
use runtime::http::problem::{Problem, Query};
use serde::Deserialize;
use tokio::time::timeout;
use utoipa::IntoParams;

use super::{
    as_of::{AsOf, totals_as_of, unknown_position},
    current_money::CurrentMoney,
    snapshot::Snapshot,
};
use crate::{headers::if_none_match, sources::Sources, time};

/// How long a request waits for its position. The projection is some milliseconds behind; whoever is not served by
/// then is better told so.
const MIN_POSITION_WAIT: Duration = Duration::from_secs(5);
/// Longer than it usually takes: who still waits then may ask for a position that does not exist.
const USUAL_WAIT: Duration = Duration::from_millis(200);

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Parameters {
    /// Wait, for at most five seconds, until the totals reflect this log position: read your own writes.
    #[param(value_type = Option<i64>, minimum = 0)]
    min_position: Option<Position>,
    /// The totals as they were at this time (RFC 3339); the newest, if it is later than all events. The epoch stands for `as_of` before
    /// the first event. Not together with another parameter.
    #[serde(default, deserialize_with = "time::rfc3339")]
    at: Option<DateTime<Utc>>,
    /// The totals as they were at this log position. Not together with another parameter.
    #[param(value_type = Option<i64>, minimum = 0)]
    at_position: Option<Position>,
}

/// Number of sales and revenue since the last reset
///
/// The `Age` header says how many seconds ago the totals were last known to be complete; those of the past have none.
#[utoipa::path(
    get,
    path = "/api/get_current_money",
    security(("token" = ["sales"])),
    params(Parameters),
    responses(
        (status = 200, description = "The totals", body = CurrentMoney, headers(
            ("ETag" = String, description = "Changes with the totals; send it as If-None-Match"),
            ("Age" = u64, description = "Seconds since the totals were last known to be complete"))),
        (status = 304, description = "The totals are still those of If-None-Match"),
        (status = 400, description = "Invalid query parameter", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "min_position or at_position is beyond the end of the log", body = Problem, content_type = "application/problem+json"),
        (status = 500, description = "The log is damaged: an alarm for operators", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "No totals yet, min_position is not reached, a database does not answer, or too many ask for the past", body = Problem,
            content_type = "application/problem+json", headers(("Retry-After" = u32, description = "Seconds"))),
    ),
)]
pub async fn get_current_money(
    State(sources): State<Arc<Sources>>,
    Query(Parameters { min_position, at, at_position }): Query<Parameters>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let snapshot = match (min_position, at, at_position) {
        (min_position, None, None) => newest(&sources, min_position.unwrap_or_default()).await?,
        (None, Some(time), None) => return totals_as_of(&sources, AsOf::Time(time), &headers).await,
        (None, None, Some(position)) => return totals_as_of(&sources, AsOf::Position(position), &headers).await,
        _ => {
            let detail = "min_position, at and at_position exclude each other.";
            return Err(Problem::bad_request("invalid-query", "The query parameters do not fit together", detail));
        }
    };
    let age = HeaderValue::from(snapshot.age().as_secs());
    let common = [
        (header::AGE, age),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        (header::ETAG, snapshot.etag.clone()),
    ];
    if if_none_match(&headers, &snapshot.etag) {
        return Ok((StatusCode::NOT_MODIFIED, common).into_response());
    }
    let json = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
    Ok((common, json, snapshot.body).into_response())
}

/// The newest totals, once they reflect the position.
async fn newest(sources: &Sources, min_position: Position) -> Result<Snapshot, Problem> {
    let Sources { totals, waiting, event_store, .. } = sources;
    let reflects = |snapshot: &Option<Snapshot>| snapshot.as_ref().is_some_and(|known| known.position >= min_position);
    if let Some(known) = totals.borrow().as_ref().filter(|known| known.position >= min_position) {
        return Ok(known.clone());
    }
    let Ok(_place) = waiting.try_acquire() else {
        return Err(Problem::unavailable("Too many requests wait for their min_position. Try again."));
    };
    let mut totals = totals.clone();
    let mut wait = async |limit| {
        let reached = timeout(limit, totals.wait_for(reflects)).await.ok().and_then(Result::ok);
        reached.and_then(|snapshot| snapshot.clone())
    };
    if let Some(snapshot) = wait(USUAL_WAIT).await {
        return Ok(snapshot);
    }
    // With the event store away it cannot be told; then it may be there.
    if let Ok(Ok(end)) = timeout(USUAL_WAIT, event_log::head(event_store)).await
        && end < min_position
    {
        return Err(unknown_position(end));
    }
    if let Some(snapshot) = wait(MIN_POSITION_WAIT).await {
        return Ok(snapshot);
    }
    Err(Problem::unavailable(match &*totals.borrow() {
        None => "The totals have not been read yet.".to_owned(),
        Some(known) => format!("Position {min_position} is not reflected yet, only {}.", known.position),
    }))
}
