//! The history, as read from the read model.

use std::{collections::BTreeMap, fmt::Write};

use chrono::{DateTime, SecondsFormat, Utc};
use contract::{
    catalogue::License,
    money::Money,
    position::Position,
    time_zone::Zone,
    totals::{LicenseTotal, Totals},
};
use event_log::{
    read_model::set_from_row,
    row::{self, decode_error, to_position},
};
use serde::Serialize;
use sqlx::{PgPool, Row};
use utoipa::ToSchema;

use super::calendar::Interval;
use crate::time;

/// Resets in one response.
const MAX_RESETS: usize = 1000;

/// Sales and resets over time.
#[derive(Debug, Serialize, ToSchema)]
pub struct History {
    interval: Interval,
    /// Name in the IANA time zone database.
    #[schema(value_type = String, example = "Europe/Berlin")]
    #[serde(serialize_with = "by_name")]
    time_zone: Zone,
    /// Beginning of the first bucket.
    from: DateTime<Utc>,
    /// End of the last bucket (exclusive).
    to: DateTime<Utc>,
    /// All buckets of the range, including those without sales.
    buckets: Vec<Bucket>,
    /// Resets within the range, in log order.
    resets: Vec<ResetMark>,
    /// Log position that the history reflects: every event up to it is counted.
    pub position: Position,
    /// Time of the event at that position.
    as_of: DateTime<Utc>,
    #[serde(skip)]
    pub generation: i64,
}

/// Sales within a minute, an hour or a day, including those before a reset.
#[derive(Debug, Serialize, ToSchema)]
pub struct Bucket {
    from: DateTime<Utc>,
    /// Beginning of the next bucket.
    to: DateTime<Utc>,
    sales_count: i64,
    revenue: Money,
    by_license: BTreeMap<License, LicenseTotal>,
}

/// A reset of the totals to zero. Earlier sales stay in the history.
#[derive(Debug, Serialize, ToSchema)]
pub struct ResetMark {
    position: Position,
    reset_at: DateTime<Utc>,
    reason: Option<String>,
}

fn by_name<S: serde::Serializer>(zone: &Zone, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(zone.name())
}

/// Why the history cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    #[error("the read model cannot be read: {0}")]
    Database(#[from] sqlx::Error),
    #[error("more than {MAX_RESETS} resets")]
    TooManyResets,
}

/// Reads the buckets between these boundaries.
pub async fn read(
    read_model: &PgPool,
    interval: Interval,
    time_zone: Zone,
    boundaries: &[DateTime<Utc>],
) -> Result<History, HistoryError> {
    let [from, .., to] = boundaries else { return Err(sqlx::Error::Protocol("no bucket".to_owned()).into()) };
    let rows = sqlx::query(include_str!("history.sql"))
        .bind(i16::try_from(interval.step().num_minutes()).map_err(decode_error)?)
        .bind(boundaries)
        .bind(i64::try_from(MAX_RESETS + 1).map_err(decode_error)?)
        .fetch_all(read_model)
        .await?;
    let first = rows.first().ok_or(sqlx::Error::RowNotFound)?;
    let mut sold = vec![Totals::default(); boundaries.len() - 1];
    let mut resets = Vec::new();
    for row in &rows {
        if let Some(reset) = row.try_get("reset_position")? {
            resets.push(ResetMark {
                position: to_position(reset)?,
                reset_at: row.try_get("reset_at")?,
                reason: row.try_get("reason")?,
            });
        } else if let Some(bucket) = row.try_get::<Option<i32>, _>("bucket")? {
            // `width_bucket` counts from 1.
            let bucket = usize::try_from(bucket - 1).ok().and_then(|bucket| sold.get_mut(bucket));
            let bucket = bucket.ok_or_else(|| sqlx::Error::Protocol("a bucket outside the range".to_owned()))?;
            set_from_row(bucket, row)?;
        }
    }
    if resets.len() > MAX_RESETS {
        return Err(HistoryError::TooManyResets);
    }
    Ok(History {
        interval,
        time_zone,
        from: *from,
        to: *to,
        buckets: boundaries.windows(2).zip(&sold).map(Bucket::new).collect::<Result<_, _>>()?,
        resets,
        position: row::position(first, "position")?,
        as_of: first.try_get("as_of")?,
        generation: first.try_get("generation")?,
    })
}

impl Bucket {
    fn new((boundaries, sold): (&[DateTime<Utc>], &Totals)) -> sqlx::Result<Self> {
        let LicenseTotal { sales_count, revenue } = sold.sum().map_err(decode_error)?;
        Ok(Self { from: boundaries[0], to: boundaries[1], sales_count, revenue, by_license: sold.by_license() })
    }
}

impl History {
    /// One line per bucket and licence, in chronological order, with times in the time zone.
    pub fn to_csv(&self) -> String {
        let local =
            |time: &DateTime<Utc>| time::local(*time, &self.time_zone).to_rfc3339_opts(SecondsFormat::Secs, false);
        let mut csv = "from,to,license,sales_count,revenue,currency,resets\r\n".to_owned();
        for Bucket { from, to, by_license, .. } in &self.buckets {
            let resets = self.resets.iter().filter(|reset| (*from..*to).contains(&reset.reset_at)).count();
            let times = format!("{},{}", local(from), local(to));
            for (license, LicenseTotal { sales_count, revenue }) in by_license {
                let (license, amount, currency) = (license.name(), revenue.decimal(), revenue.currency().code());
                writeln!(csv, "{times},{license},{sales_count},{amount},{currency},{resets}\r")
                    .expect("writing to a string does not fail");
            }
        }
        csv
    }
}
