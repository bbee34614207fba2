//! `GET /api/get_current_money`: number of sales and revenue since the last reset, now or as of an earlier time or position.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::State,
    http::{HeaderMap, StatusCode, header},
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
use crate::{
    headers::{REVALIDATE, if_none_match},
    sources::Sources,
    time,
};

/// How long a request waits for its position. The projection lags by milliseconds, so a longer wait is unlikely to help.
const MIN_POSITION_WAIT: Duration = Duration::from_secs(5);
/// Longer than the projection usually lags. After this time the position is checked against the end of the log.
const USUAL_WAIT: Duration = Duration::from_millis(200);

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Parameters {
    /// Wait up to five seconds until the totals reflect this log position: read your own writes.
    #[param(value_type = Option<i64>, minimum = 0)]
    min_position: Option<Position>,
    /// The totals as of this time (RFC 3339); the newest if it is later than all events. `as_of` is the epoch before the first event.
    /// Excludes the other parameters.
    #[serde(default, deserialize_with = "time::rfc3339")]
    at: Option<DateTime<Utc>>,
    /// The totals as of this log position. Excludes the other parameters.
    #[param(value_type = Option<i64>, minimum = 0)]
    at_position: Option<Position>,
}

/// Number of sales and revenue since the last reset
///
/// The `Age` header is the number of seconds since the totals were last known to be complete. Totals as of an earlier time or position have none.
#[utoipa::path(
    get,
    path = "/api/get_current_money",
    security(("token" = ["sales"])),
    params(Parameters),
    responses(
        (status = 200, description = "The totals", body = CurrentMoney, headers(
            ("ETag" = String, description = "Changes with the totals; send it as If-None-Match"),
            ("Age" = u64, description = "Seconds since the totals were last known to be complete"))),
        (status = 304, description = "The totals still match If-None-Match"),
        (status = 400, description = "Invalid query parameter"),
        (status = 404, description = "min_position or at_position is beyond the end of the log"),
        (status = 500, description = "The log is damaged; operators are alerted"),
        (status = 503, description = "No totals yet, min_position is not reached, a database is unreachable, or too many requests for earlier totals"),
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
            return Err(Problem::bad_request("invalid-query", "Conflicting query parameters", detail));
        }
    };
    let common = [
        (header::AGE, snapshot.age().as_secs().into()),
        (header::CACHE_CONTROL, REVALIDATE),
        (header::ETAG, snapshot.etag.clone()),
    ];
    if if_none_match(&headers, &snapshot.etag) {
        return Ok((StatusCode::NOT_MODIFIED, common).into_response());
    }
    Ok((common, [(header::CONTENT_TYPE, "application/json")], snapshot.body).into_response())
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
    // While the event store is unreachable, the position may exist.
    if let Ok(Ok(end)) = timeout(USUAL_WAIT, event_log::head(event_store)).await
        && end < min_position
    {
        return Err(unknown_position(end));
    }
    if let Some(snapshot) = wait(MIN_POSITION_WAIT).await {
        return Ok(snapshot);
    }
    Err(Problem::unavailable(match &*totals.borrow() {
        None => "The read model has not been read yet.".to_owned(),
        Some(known) => format!("The totals reflect position {} so far, not yet {min_position}.", known.position),
    }))
}
