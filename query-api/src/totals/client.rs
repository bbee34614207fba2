//! A client of the stream of totals: what it was sent, and what it is sent next.
//!
//! Nothing is queued for a client: one that reads slowly gets the newest totals when there is room for them, and none of those in
//! between. The bytes are made once per change and shared by all clients.

use std::time::Duration;

use axum::http::HeaderValue;
use bytes::Bytes;
use serde::Serialize;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;

use super::{
    places::Place,
    snapshot::{Snapshot, Watch},
};

/// Between two events of totals: smooth for the eye, and at most ten writes a second per client.
const MIN_EVENT_INTERVAL: Duration = Duration::from_millis(100);
/// How often the age of the totals is sent. It also keeps proxies from closing an idle connection.
const AGE_INTERVAL: Duration = Duration::from_secs(5);
/// After this time the client reconnects, and its token is checked again.
const LIFETIME: Duration = Duration::from_mins(15);
/// How long a client waits before it reconnects, in milliseconds.
const RETRY: &str = "retry: 1000\n\n";

/// Data of an event `age`.
#[derive(Serialize, ToSchema)]
pub struct Age {
    /// How long ago the totals were last known to be complete.
    age_ms: u64,
}

/// A client that is connected to the stream.
pub struct Client {
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
    /// Also returns the bytes that it is sent at once.
    pub fn begin(
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
            not_before: now + MIN_EVENT_INTERVAL,
            age_at: now + AGE_INTERVAL,
            ends_at: now + LIFETIME,
            _place: place,
        };
        (first.into(), client)
    }

    /// The next event, once there is one. It is polled only when the connection has room for more. `None` ends the stream.
    pub async fn next(mut self) -> Option<(Bytes, Self)> {
        let event = tokio::select! {
            biased;
            () = self.drain.cancelled() => return None,
            () = sleep_until(self.ends_at) => return None,
            () = sleep_until(self.age_at) => {
                self.age_at = Instant::now() + AGE_INTERVAL;
                self.totals.borrow().as_ref().map(age)?
            }
            newest = newer(&mut self.totals, &self.sent, self.not_before) => {
                self.not_before = Instant::now() + MIN_EVENT_INTERVAL;
                self.sent = newest.etag;
                newest.event
            }
        };
        Some((event, self))
    }
}

/// Waits for totals other than those that were sent, and at least until `not_before`.
async fn newer(totals: &mut Watch, sent: &HeaderValue, not_before: Instant) -> Snapshot {
    sleep_until(not_before).await;
    let differs = |newest: &Option<Snapshot>| newest.as_ref().is_some_and(|newest| newest.etag != *sent);
    match totals.wait_for(differs).await.ok().and_then(|newest| newest.clone()) {
        Some(newest) => newest,
        None => std::future::pending().await, // the follower is gone: the process is about to exit
    }
}

fn age(totals: &Snapshot) -> Bytes {
    let age = Age { age_ms: u64::try_from(totals.age().as_millis()).unwrap_or(u64::MAX) };
    let data = serde_json::to_string(&age).expect("a number serializes");
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
    use crate::totals::places::Places;

    /// A client that has just been sent position 1.
    fn connected() -> (watch::Sender<Option<Snapshot>>, CancellationToken, Client) {
        let (newest, watch) = watch::channel(Some(Snapshot::at(1)));
        let drain = CancellationToken::new();
        let streams = Places::new(drain.clone(), &mut Registry::default());
        let known = Snapshot::at(1);
        let (first, client) = Client::begin(watch, drain.clone(), streams.take().unwrap(), &known, false);
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
    async fn a_slow_client_gets_the_newest_totals_and_none_of_those_in_between() {
        let (newest, _drain, client) = connected();
        for position in 2..=1000 {
            newest.send_replace(Some(Snapshot::at(position)));
        }
        advance(MIN_EVENT_INTERVAL).await;
        let (event, client) = client.next().await.unwrap();
        assert_eq!(text(&event), "event: totals\nid: 1-1000\ndata: {\"position\":1000}\n\n");
        assert!(timeout(AGE_INTERVAL / 2, client.next()).await.is_err(), "nothing else is queued");
    }

    #[tokio::test(start_paused = true)]
    async fn totals_are_sent_at_most_ten_times_a_second() {
        let (newest, _drain, mut client) = connected();
        let changing = tokio::spawn(async move {
            for position in 2.. {
                newest.send_replace(Some(Snapshot::at(position)));
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
    async fn a_stream_ends_after_its_lifetime_and_immediately_at_shutdown() {
        let (_newest, drain, mut client) = connected();
        let started = Instant::now();
        let mut ages = 0;
        while let Some((event, rest)) = client.next().await {
            assert!(text(&event).starts_with("event: age"));
            client = rest;
            ages += 1;
        }
        assert_eq!(started.elapsed(), LIFETIME);
        assert_eq!(ages, 179, "every five seconds, but not at the end");
        drain.cancel();
        let (newest, drain, client) = connected();
        newest.send_replace(Some(Snapshot::at(2)));
        drain.cancel();
        assert!(client.next().await.is_none());
    }
}
