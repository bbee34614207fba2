//! Which part of the log is requested: the query parameters and the positions that they stand for.

use chrono::{DateTime, Utc};
use contract::{event::EventType, position::Position};
use event_log::ReadError;
use runtime::http::problem::Problem;
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use utoipa::IntoParams;

use crate::{problems::invalid_query, time};

/// Keeps a page below a megabyte.
const MAX_LIMIT: usize = 1000;

#[derive(Clone, Copy, Debug, Deserialize, Eq, IntoParams, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Parameters {
    /// Start after this log position.
    #[serde(default)]
    #[param(value_type = Option<i64>, minimum = 0, default = 0)]
    after: Position,
    /// Maximum number of events: at most 1000 on a page (default 100), unlimited in an export (default all).
    #[param(minimum = 1)]
    pub limit: Option<usize>,
    /// Last log position, inclusive.
    #[param(value_type = Option<i64>, minimum = 0)]
    until: Option<Position>,
    /// Only events of this type.
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

/// The requested part of the log, as of the request.
#[derive(Clone, Copy)]
pub struct Range {
    pub after: Position,
    /// The range is empty if it equals `after`.
    pub until: Position,
    pub event_type: Option<EventType>,
    /// Position that the response reflects: the requested end, or that of the log.
    pub position: Position,
}

impl Parameters {
    pub fn check(self, as_lines: bool) -> Result<(), Problem> {
        let maximum = if as_lines { usize::MAX } else { MAX_LIMIT };
        let detail = if self.limit.is_some_and(|limit| limit == 0 || limit > maximum) {
            format!("limit is a number from 1, for a page at most {MAX_LIMIT}.")
        } else if self.from.zip(self.to).is_some_and(|(from, to)| from > to) {
            "from is later than to.".to_owned()
        } else {
            return Ok(());
        };
        Err(invalid_query(detail))
    }

    pub async fn range(self, store: &PgPool) -> Result<Range, ReadError> {
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

    /// Address of the page that starts after a position.
    pub fn address_after(self, position: Position) -> String {
        Self { after: position, ..self }.address()
    }

    fn address(self) -> String {
        let query = serde_urlencoded::to_string(self).expect("numbers, names and times serialize");
        format!("/api/events?{query}")
    }
}

#[cfg(test)]
mod tests {
    use proptest::{prelude::*, test_runner::FileFailurePersistence};

    use super::*;

    fn read(query: &str) -> Result<Parameters, serde_urlencoded::de::Error> {
        serde_urlencoded::from_str(query)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_failure_persistence(FileFailurePersistence::Direct("tests/counterexamples.txt")))]

        #[test]
        fn the_address_of_the_next_page_holds_all_parameters(
            after in 0..i64::MAX,
            limit in prop::option::of(any::<usize>()),
            until in prop::option::of(0..i64::MAX),
            event_type in prop::option::of(prop::sample::select(
                &[EventType::LicensePurchased, EventType::SalesReset, EventType::EventVoided][..],
            )),
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
        fn a_query_that_is_accepted_round_trips(
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
