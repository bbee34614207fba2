//! `GET /api/sales/history`: sales over time.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use chrono::{DateTime, Utc};
use contract::{
    position::Position,
    time_zone::{TimeZones, Zone},
};
use runtime::http::problem::{Problem, Query};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::{
    calendar::Interval,
    read::{self, History, HistoryError},
};
use crate::{
    headers::{POSITION, REVALIDATE, if_none_match},
    problems::{self, invalid_query},
    sources::Sources,
    time,
};

/// Buckets in one response: a day of minutes, two months of hours, four years of days.
const MAX_BUCKETS: usize = 1500;

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Parameters {
    /// Length of a bucket.
    #[param(inline)]
    interval: Interval,
    /// Beginning of the range (RFC 3339), rounded down to the beginning of a bucket. By default 60 minutes, 48 hours or 30 days before
    /// `to`.
    #[serde(default, deserialize_with = "time::rfc3339")]
    from: Option<DateTime<Utc>>,
    /// End of the range (RFC 3339), rounded up to the end of a bucket. By default now.
    #[serde(default, deserialize_with = "time::rfc3339")]
    to: Option<DateTime<Utc>>,
    /// Time zone of the hours and days: a name in the IANA database.
    #[serde(default = "berlin")]
    #[param(value_type = Option<String>, default = "Europe/Berlin")]
    time_zone: String,
    #[serde(default)]
    #[param(inline)]
    format: Format,
}

#[derive(Clone, Copy, Default, Deserialize, Eq, PartialEq, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Format {
    #[default]
    Json,
    Csv,
}

fn berlin() -> String {
    "Europe/Berlin".to_owned()
}

/// Sales over time, by licence
///
/// When clocks change, a day has 23 or 25 hours, and a repeated hour is two buckets. Sales before a reset stay in the history; resets are
/// listed separately. At most 1500 buckets. In CSV, times have the offset of the time zone, revenue is in the currency's major unit, and
/// each line has the number of resets in its bucket.
#[utoipa::path(
    get,
    path = "/api/sales/history",
    security(("token" = ["sales"])),
    params(Parameters),
    responses(
        (status = 200, description = "The history", content((History = "application/json"), (String = "text/csv")), headers(
            ("ETag" = String, description = "Changes with the history; send it as If-None-Match. Weak, since the response may be compressed"),
            ("Vary" = String, description = "Accept-Encoding, since the response may be compressed"),
            ("Sales-Position" = i64, description = "Log position that the history reflects"))),
        (status = 304, description = "The history still matches If-None-Match"),
        (status = 400, description = "Invalid query parameter, or too much for one response"),
        (status = 500, description = "The read model is damaged; operators are alerted"),
        (status = 503, description = "The read model is unreachable"),
    ),
)]
pub async fn get_sales_history(
    State(sources): State<Arc<Sources>>,
    Query(parameters): Query<Parameters>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let zone = parameters.zone(&sources.time_zones)?;
    let boundaries = parameters.boundaries(&zone)?;
    let time_zones = sources.time_zones.version();
    // Weak: the proxy compresses the response, so that several sequences of bytes have the same tag.
    let tag = |generation: i64, position: Position| {
        let [from, to] = [boundaries.first(), boundaries.last()].map(|end| end.map_or(0, DateTime::timestamp));
        HeaderValue::try_from(format!("W/\"{generation}-{position}-{from}-{to}-{time_zones}\""))
            .expect("numbers and versions are plain ASCII")
    };
    let caching = [(header::CACHE_CONTROL, REVALIDATE), (header::VARY, HeaderValue::from_static("accept-encoding"))];
    if headers.contains_key(header::IF_NONE_MATCH) {
        // Not from the totals in memory: a page may have received newer ones from another replica.
        let (generation, position) = sources.live_version().await?;
        let tag = tag(generation, position);
        if if_none_match(&headers, &tag) {
            let version = [(header::ETAG, tag), (POSITION, HeaderValue::from(position.get()))];
            return Ok((StatusCode::NOT_MODIFIED, caching, version).into_response());
        }
    }
    let history = read::read(&sources.read_model, parameters.interval, zone, &boundaries).await.map_err(problem)?;
    let tag = tag(history.generation, history.position);
    let version = [(header::ETAG, tag), (POSITION, HeaderValue::from(history.position.get()))];
    if parameters.format == Format::Json {
        return Ok((caching, version, Json(history)).into_response());
    }
    let as_file = [
        (header::CONTENT_TYPE, "text/csv; charset=utf-8"),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"sales.csv\""),
    ];
    Ok((caching, version, as_file, history.to_csv()).into_response())
}

impl Parameters {
    fn zone(&self, time_zones: &TimeZones) -> Result<Zone, Problem> {
        let name = &self.time_zone;
        let unknown = || invalid_query(format!("{name:?} is not a time zone; expected a name such as Europe/Berlin."));
        time_zones.get(name).ok_or_else(unknown)
    }

    fn boundaries(&self, zone: &Zone) -> Result<Vec<DateTime<Utc>>, Problem> {
        let to = self.to.unwrap_or_else(Utc::now);
        let from = self.from.unwrap_or(to - self.interval.usual_range());
        if from >= to {
            return Err(invalid_query("from must be earlier than to."));
        }
        let boundaries = self.interval.boundaries(zone, from, to, MAX_BUCKETS);
        let boundaries =
            boundaries.ok_or_else(|| invalid_query(format!("The range has more than {MAX_BUCKETS} buckets.")))?;
        // The ends of the first and last bucket may be in a year that RFC 3339 cannot express.
        if boundaries.iter().all(|time| time::is_expressible(*time, zone)) {
            Ok(boundaries)
        } else {
            Err(invalid_query("The range exceeds the years 0000 to 9999."))
        }
    }
}

fn problem(error: HistoryError) -> Problem {
    match error {
        HistoryError::TooManyResets => invalid_query(format!("The range has {error}. Request a shorter one.")),
        HistoryError::Database(error) => problems::read_model(&error),
    }
}
