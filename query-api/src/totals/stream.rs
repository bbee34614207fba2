//! `GET /api/sales/stream`: the totals as they change, as server-sent events.

use std::{convert::Infallible, future::ready, sync::Arc};

use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue, header},
    response::{IntoResponse, Response},
};
use futures::{StreamExt, stream};
use runtime::http::problem::Problem;

use super::{client::Client, places::MAX_CLIENTS};
use crate::sources::Sources;

/// The totals as they change
///
/// Events `totals`, whose data is the answer of `GET /api/get_current_money`: one at once, unless `Last-Event-ID` is the id of the newest,
/// and then the newest whenever it has changed, at most ten a second. The id changes with the totals: with the log position, and when a
/// rebuild puts them right. Events `age`, whose data is an `Age`: at once and then every five seconds. The stream ends after 15 minutes,
/// and when this replica stops.
#[utoipa::path(
    get,
    path = "/api/sales/stream",
    security(("token" = ["sales"])),
    params(("Last-Event-ID" = Option<String>, Header, description = "The id of the last event `totals` that the client has")),
    responses(
        (status = 200, description = "The events", body = String, content_type = "text/event-stream"),
        (status = 503, description = "No totals yet, or this replica has as many clients as it may", body = Problem,
            content_type = "application/problem+json", headers(("Retry-After" = u32, description = "Seconds"))),
    ),
)]
pub async fn get_sales_stream(State(sources): State<Arc<Sources>>, headers: HeaderMap) -> Result<Response, Problem> {
    let Some(place) = sources.streams.take() else {
        return Err(Problem::unavailable(format!("This replica has {MAX_CLIENTS} clients already. Try again.")));
    };
    let Some(newest) = sources.totals.borrow().clone() else {
        return Err(Problem::unavailable("The totals have not been read yet."));
    };
    let is_known = headers.get("last-event-id").is_some_and(|id| id.as_bytes() == newest.version().as_bytes());
    let drain = sources.streams.drain.clone();
    let (first, client) = Client::begin(sources.totals.clone(), drain, place, &newest, is_known);
    let rest = stream::unfold(client, Client::next);
    let body = Body::from_stream(stream::once(ready(first)).chain(rest).map(Ok::<_, Infallible>));
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        // Proxies would buffer it otherwise.
        (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ];
    Ok((headers, body).into_response())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use tokio::sync::watch;

    use super::*;
    use crate::totals::snapshot::Snapshot;

    #[tokio::test]
    async fn clients_beyond_the_limit_are_answered_503_until_one_disconnects() {
        let etag = HeaderValue::from_static("\"1-1\"");
        let totals = Snapshot::new(1.try_into().unwrap(), Bytes::from("{}"), etag, Duration::ZERO);
        let (_newest, watch) = watch::channel(Some(totals));
        let sources = Arc::new(Sources::without_databases(watch));
        let open = async || get_sales_stream(State(Arc::clone(&sources)), HeaderMap::new()).await;
        let mut clients = Vec::new();
        for _ in 0..MAX_CLIENTS {
            clients.push(open().await.unwrap());
        }
        let refused = open().await.unwrap_err().into_response();
        assert_eq!(refused.status(), 503);
        assert_eq!(refused.headers()["retry-after"], "1");
        clients.pop();
        clients.push(open().await.unwrap());
        assert!(open().await.is_err());
    }
}
