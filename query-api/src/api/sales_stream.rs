//! `GET /api/sales/stream`: the totals as they change, as server-sent events.
//!
//! Nothing is kept for a client but what it was sent last: whoever reads slowly gets the newest totals when there is room for them,
//! and never those in between. The bytes are made once per change and shared by all clients.

use std::{convert::Infallible, future::ready, sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures::{StreamExt, stream};
use prometheus_client::{metrics::gauge::Gauge, registry::Registry};
use runtime::http::problem::Problem;
use serde::Serialize;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;

use super::Sources;
use crate::totals::{Snapshot, Watch};

/// Clients at the same time. Each takes a socket and some 20 KB: together what a replica may take at full load.
const MAX_CLIENTS: usize = 5000;
/// From one event of totals to the next: smooth for the eye, and no more than ten writes a second for each client.
const PACE: Duration = Duration::from_millis(100);
/// How often the age of the totals is told; so also what keeps proxies from taking the stream for dead.
const AGE_INTERVAL: Duration = Duration::from_secs(5);
/// After that the client connects again, and its token is checked again.
const LIFETIME: Duration = Duration::from_mins(15);
/// How long the client waits before it connects again, in milliseconds.
const RETRY: &str = "retry: 1000\n\n";

/// Data of an event `age`.
#[derive(Serialize, ToSchema)]
pub struct Age {
    /// How long ago the totals were last known to be complete.
    age_ms: u64,
}

/// The places for clients.
pub struct Streams {
    places: Arc<Semaphore>,
    open: Gauge,
    /// Ends all streams.
    drain: CancellationToken,
}

/// One client's. Given back when its stream ends, whichever way.
struct Place {
    _permit: OwnedSemaphorePermit,
    open: Gauge,
}

impl Streams {
    pub fn new(drain: CancellationToken, registry: &mut Registry) -> Self {
        let open = Gauge::default();
        registry.register("totals_streams", "Clients that are sent the totals as they change", open.clone());
        Self { places: Arc::new(Semaphore::new(MAX_CLIENTS)), open, drain }
    }

    fn take_place(&self) -> Option<Place> {
        let permit = Arc::clone(&self.places).try_acquire_owned().ok()?;
        self.open.inc();
        Some(Place { _permit: permit, open: self.open.clone() })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.open.dec();
    }
}

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
    let Some(place) = sources.streams.take_place() else {
        return Err(Problem::unavailable(format!("This replica has {MAX_CLIENTS} clients already. Try again.")));
    };
    let Some(newest) = sources.totals.borrow().clone() else {
        return Err(Problem::unavailable("The totals have not been read yet."));
    };
    let is_known = headers.get("last-event-id").is_some_and(|id| id.as_bytes() == newest.version().as_bytes());
    let (first, client) =
        Client::begin(sources.totals.clone(), sources.streams.drain.clone(), place, &newest, is_known);
    let rest = stream::unfold(client, Client::next);
    let body = Body::from_stream(stream::once(ready(first)).chain(rest).map(Ok::<_, Infallible>));
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        // For proxies that would collect it first.
        (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ];
    Ok((headers, body).into_response())
}

/// Who is being sent the totals.
struct Client {
    totals: Watch,
    drain: CancellationToken,
    /// Tag of the totals that it has.
    sent: HeaderValue,
    not_before: Instant,
    age_at: Instant,
    ends_at: Instant,
    _place: Place,
}

impl Client {
    /// Also returns what it is sent at once.
    fn begin(
        totals: Watch,
        drain: CancellationToken,
        place: Place,
        newest: &Snapshot,
        is_known: bool,
    ) -> (Bytes, Self) {
        let now = Instant::now();
        let totals_event: &[u8] = if is_known { b"" } else { &newest.event };
        let first = [RETRY.as_bytes(), totals_event, &age(newest)].concat();
        let client = Self {
            totals,
            drain,
            sent: newest.etag.clone(),
            not_before: now + PACE,
            age_at: now + AGE_INTERVAL,
            ends_at: now + LIFETIME,
            _place: place,
        };
        (first.into(), client)
    }

    /// The next event, when there is one and whoever sends it has room for it; `None` when the stream ends.
    async fn next(mut self) -> Option<(Bytes, Self)> {
        let event = tokio::select! {
            biased;
            () = self.drain.cancelled() => return None,
            () = sleep_until(self.ends_at) => return None,
            () = sleep_until(self.age_at) => {
                self.age_at = Instant::now() + AGE_INTERVAL;
                self.totals.borrow().as_ref().map(age)?
            }
            newest = newer(&mut self.totals, &self.sent, self.not_before) => {
                self.not_before = Instant::now() + PACE;
                self.sent = newest.etag;
                newest.event
            }
        };
        Some((event, self))
    }
}

/// The newest totals once they are others than these, and no sooner than that.
async fn newer(totals: &mut Watch, sent: &HeaderValue, not_before: Instant) -> Snapshot {
    sleep_until(not_before).await;
    let differs = |newest: &Option<Snapshot>| newest.as_ref().is_some_and(|newest| newest.etag != *sent);
    match totals.wait_for(differs).await.ok().and_then(|newest| newest.clone()) {
        Some(newest) => newest,
        None => std::future::pending().await, // nobody follows the read model any more: the process is about to end
    }
}

fn age(totals: &Snapshot) -> Bytes {
    let age = Age { age_ms: u64::try_from(totals.age().as_millis()).unwrap_or(u64::MAX) };
    let data = serde_json::to_string(&age).expect("a number can be written down");
    format!("event: age\ndata: {data}\n\n").into()
}

#[cfg(test)]
mod tests {
    use prometheus_client::registry::Registry;
    use tokio::{
        sync::watch,
        time::{advance, timeout},
    };

    use super::*;

    fn totals(position: i64) -> Snapshot {
        let etag = HeaderValue::try_from(format!("\"1-{position}\"")).unwrap();
        let body = Bytes::from(format!("{{\"position\":{position}}}"));
        Snapshot::new(position.try_into().unwrap(), body, etag, Duration::ZERO)
    }

    /// A client that was just sent position 1.
    fn connected() -> (watch::Sender<Option<Snapshot>>, CancellationToken, Client) {
        let (newest, watch) = watch::channel(Some(totals(1)));
        let drain = CancellationToken::new();
        let streams = Streams::new(drain.clone(), &mut Registry::default());
        let known = totals(1);
        let (first, client) = Client::begin(watch, drain.clone(), streams.take_place().unwrap(), &known, false);
        assert_eq!(
            first,
            "retry: 1000\n\nevent: totals\nid: 1-1\ndata: {\"position\":1}\n\nevent: age\ndata: {\"age_ms\":0}\n\n"
        );
        (newest, drain, client)
    }

    fn text(event: &Bytes) -> &str {
        std::str::from_utf8(event).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_was_away_gets_the_newest_and_nothing_of_what_was_between() {
        let (newest, _drain, client) = connected();
        for position in 2..=1000 {
            newest.send_replace(Some(totals(position)));
        }
        advance(PACE).await;
        let (event, client) = client.next().await.unwrap();
        assert_eq!(text(&event), "event: totals\nid: 1-1000\ndata: {\"position\":1000}\n\n");
        assert!(timeout(AGE_INTERVAL / 2, client.next()).await.is_err(), "there is nothing else");
    }

    #[tokio::test(start_paused = true)]
    async fn however_often_they_change_there_are_ten_a_second() {
        let (newest, _drain, mut client) = connected();
        let changing = tokio::spawn(async move {
            for position in 2.. {
                newest.send_replace(Some(totals(position)));
                tokio::time::sleep(Duration::from_millis(3)).await;
            }
        });
        let started = Instant::now();
        let (mut totals, mut ages) = (0, 0);
        while started.elapsed() < Duration::from_mins(1) {
            let (event, rest) = client.next().await.unwrap();
            client = rest;
            if text(&event).starts_with("event: totals") { totals += 1 } else { ages += 1 }
        }
        changing.abort();
        assert!((550..=600).contains(&totals), "{totals}");
        assert!((11..=12).contains(&ages), "{ages}");
    }

    #[tokio::test(start_paused = true)]
    async fn it_ends_after_its_lifetime_and_at_once_when_the_service_stops() {
        let (_newest, drain, mut client) = connected();
        let started = Instant::now();
        let mut ages = 0;
        while let Some((event, rest)) = client.next().await {
            assert!(text(&event).starts_with("event: age"));
            client = rest;
            ages += 1;
        }
        assert_eq!(started.elapsed(), LIFETIME);
        assert_eq!(ages, 179, "every five seconds, and no longer at the end");
        drain.cancel();
        let (newest, drain, client) = connected();
        newest.send_replace(Some(totals(2)));
        drain.cancel();
        assert!(client.next().await.is_none());
    }

    #[tokio::test]
    async fn whoever_finds_no_place_is_told_when_to_come_back_and_finds_one_when_somebody_is_gone() {
        let (_newest, watch) = watch::channel(Some(totals(1)));
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
