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
/// `totals` events carry the response body of `GET /api/get_current_money`: one immediately, unless `Last-Event-ID` is the id of the newest,
/// and then the newest after each change, at most ten per second. The id changes with the log position, and when a rebuild corrects the
/// totals. `age` events carry an `Age`: one immediately, then one every five seconds. The stream ends after 15 minutes and when this replica
/// shuts down.
#[utoipa::path(
    get,
    path = "/api/sales/stream",
    security(("token" = ["sales"])),
    params(("Last-Event-ID" = Option<String>, Header, description = "Id of the last `totals` event that the client received")),
    responses(
        (status = 200, description = "The events", body = String, content_type = "text/event-stream"),
        (status = 503, description = "No totals yet, or this replica has no room for another client"),
    ),
)]
pub async fn get_sales_stream(State(sources): State<Arc<Sources>>, headers: HeaderMap) -> Result<Response, Problem> {
    let Some(place) = sources.streams.take() else {
        return Err(Problem::unavailable(format!("This replica already serves {MAX_CLIENTS} streams. Try again.")));
    };
    let newest = sources.newest()?;
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
    use tokio::sync::watch;

    use super::*;
    use crate::totals::snapshot::Snapshot;

    #[tokio::test]
    async fn clients_beyond_the_limit_are_answered_503_until_one_disconnects() {
        let (_newest, watch) = watch::channel(Some(Snapshot::at(1)));
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
