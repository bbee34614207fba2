//! `GET /api/events`: the event log for auditors, page by page, or all of it as lines ([`super::export`]).

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse, Response},
};
use chrono::{DateTime, Utc};
use contract::{cloud_event::CloudEvent, event::EventType, position::Position};
use event_log::{self, ReadError};
use runtime::http::problem::{Problem, Query};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use utoipa::{IntoParams, ToSchema};

use super::{POSITION, Sources, export, log_problem, time};

const DEFAULT_LIMIT: usize = 100;
/// Keeps a page below a megabyte.
const MAX_LIMIT: usize = 1000;

#[derive(Clone, Copy, Debug, Deserialize, Eq, IntoParams, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Parameters {
    /// Begin behind this log position.
    #[serde(default)]
    #[param(value_type = Option<i64>, minimum = 0, default = 0)]
    after: Position,
    /// Events on the page, at most 1000, or in the whole stream of lines, without a maximum. Without it, a page has 100 and
    /// the stream all there are.
    #[param(minimum = 1)]
    limit: Option<usize>,
    /// The last log position, itself included.
    #[param(value_type = Option<i64>, minimum = 0)]
    until: Option<Position>,
    /// Events of this type alone.
    #[serde(rename = "type")]
    #[param(rename = "type", inline)]
    event_type: Option<EventType>,
    /// Events recorded at this time or later (RFC 3339).
    #[serde(default, deserialize_with = "time::rfc3339")]
    from: Option<DateTime<Utc>>,
    /// Events recorded before this time (RFC 3339).
    #[serde(default, deserialize_with = "time::rfc3339")]
    to: Option<DateTime<Utc>>,
}

/// A page of the event log.
#[derive(Serialize, ToSchema)]
struct Page<'a> {
    /// In position order; without a hole, unless a type was asked for.
    events: Vec<CloudEvent<'a>>,
    /// Address of the next page; null at the end.
    next: Option<String>,
}

/// The part of the log that somebody asks for, as it stands when they ask.
#[derive(Clone, Copy)]
pub struct Range {
    pub after: Position,
    /// Nothing lies between when it is the same as `after`.
    pub until: Position,
    pub event_type: Option<EventType>,
    /// Up to here, everything that was asked for was there to be told: the end that was asked for, or that of the log.
    pub position: Position,
}

/// The event log in position order
///
/// As `application/json`, a page. As `application/x-ndjson`, the whole range up to the end of the log as of the request's
/// arrival: one CloudEvent per line, with the same bytes as `GET /api/events/{event}`, at whatever pace the reader takes
/// them. A stream that is complete ends as HTTP says; one that fails on the way is cut off. The last whole line then has the
/// position from which `after` resumes, and what follows has the same bytes as if it had never been cut. A reader that takes
/// nothing for a minute is cut off as well.
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
            ("Link" = String, description = "With rel=\"next\", the address of the next page, if there is one"),
            ("Sales-Position" = i64, description = "Log position that the answer, with its next pages, reflects: the end of what was asked for, or of the log"),
            ("Vary" = String, description = "Accept: it chooses between the two"))),
        (status = 400, description = "Invalid query parameter", body = Problem, content_type = "application/problem+json"),
        (status = 500, description = "The log is damaged: an alarm for operators", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The event store does not answer, or too many streams are being sent", body = Problem,
            content_type = "application/problem+json", headers(("Retry-After" = u32, description = "Seconds"))),
    ),
)]
pub async fn get_events(
    State(sources): State<Arc<Sources>>,
    Query(parameters): Query<Parameters>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let as_lines = export::is_wanted(&headers);
    parameters.check(as_lines)?;
    let mut response = if as_lines {
        let place = Arc::clone(&sources.exports).try_acquire_owned().map_err(|_| export::too_many())?;
        let range = parameters.range(&sources.event_store).await.map_err(|error| log_problem(&error))?;
        export::lines(sources.event_store.clone(), range, parameters.limit, place).await?
    } else {
        page(&sources.event_store, parameters).await.map_err(|error| log_problem(&error))?
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
        // Positions have no holes, so that a number of events says as well where to end.
        let all = usize::try_from(until.get() - after.get()).unwrap_or(0);
        event_log::read_after(store, after, limit.min(all)).await?
    };
    let last = events.last().filter(|last| events.len() == limit && last.position < until);
    let next = last.map(|last| Parameters { after: last.position, ..parameters }.address());
    let link = next.as_ref().map(|next| {
        let link = HeaderValue::try_from(format!("<{next}>; rel=\"next\""));
        [(header::LINK, link.expect("an address of ours is plain ASCII"))]
    });
    let page = Page { events: events.iter().map(CloudEvent::from).collect(), next };
    Ok((link, [(POSITION, HeaderValue::from(position.get()))], Json(page)).into_response())
}

impl Parameters {
    fn check(self, as_lines: bool) -> Result<(), Problem> {
        let maximum = if as_lines { usize::MAX } else { MAX_LIMIT };
        let detail = if self.limit.is_some_and(|limit| limit == 0 || limit > maximum) {
            format!("limit is a number from 1, and for a page at most {MAX_LIMIT}.")
        } else if self.from.zip(self.to).is_some_and(|(from, to)| from > to) {
            "from is later than to: nothing can lie between.".to_owned()
        } else {
            return Ok(());
        };
        Err(Problem::bad_request("invalid-query", "The query parameters do not have the expected shape", detail))
    }

    async fn range(self, store: &PgPool) -> Result<Range, ReadError> {
        let mut after = self.after;
        if let Some(from) = self.from {
            after = after.max(event_log::last_before(store, from).await?);
        }
        let mut until = event_log::head(store).await?;
        if let Some(to) = self.to {
            until = until.min(event_log::last_before(store, to).await?);
        }
        let position = until.min(self.until.unwrap_or(until));
        Ok(Range { after, until: position.max(after), event_type: self.event_type, position })
    }

    fn address(self) -> String {
        let query = serde_urlencoded::to_string(self).expect("numbers, names and times can be written into a query");
        format!("/api/events?{query}")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CASES: u32 = 20_000;

    fn read(query: &str) -> Result<Parameters, serde_urlencoded::de::Error> {
        serde_urlencoded::from_str(query)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: CASES, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn the_address_of_the_next_page_says_what_was_asked_for(
            after in 0..i64::MAX,
            limit in prop::option::of(any::<usize>()),
            until in prop::option::of(0..i64::MAX),
            event_type in prop::option::of(prop::sample::select(&[EventType::LicensePurchased, EventType::SalesReset][..])),
            // The years of RFC 3339.
            from in prop::option::of(-62_167_219_200_i64..253_402_300_800),
            nanoseconds in 0..1_000_000_000_u32,
        ) {
            let asked = Parameters {
                after: after.try_into().unwrap(),
                limit,
                until: until.map(|until| until.try_into().unwrap()),
                event_type,
                from: from.and_then(|seconds| DateTime::from_timestamp(seconds, nanoseconds)),
                to: None,
            };
            let address = asked.address();
            let (path, query) = address.split_once('?').unwrap();
            prop_assert_eq!(path, "/api/events");
            prop_assert_eq!(read(query).unwrap(), asked);
        }

        #[test]
        fn whatever_is_asked_for_is_refused_or_can_be_asked_for_again(
            query in prop_oneof![
                any::<String>(),
                prop::collection::vec(
                    (
                        prop::sample::select(&["after", "limit", "until", "type", "from", "to", "more"][..]),
                        prop_oneof![any::<i128>().prop_map(|n| n.to_string()), "[0-9TZ:.+-]{0,30}", "[A-Za-z%0-9]{0,20}"],
                    ),
                    0..6,
                ).prop_map(|pairs| {
                    pairs.iter().fold(String::new(), |query, (name, value)| query + name + "=" + value + "&")
                }),
            ],
        ) {
            if let Ok(asked) = read(&query) {
                let _ = asked.check(false);
                prop_assert_eq!(read(asked.address().split_once('?').unwrap().1).unwrap(), asked);
            }
        }
    }
}
