//! Times and time zones in queries.

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use serde::{Deserialize, Deserializer, de};

/// Only what RFC 3339 allows: its years fit into every database.
pub fn rfc3339<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<DateTime<Utc>>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let time = DateTime::parse_from_rfc3339(&text)
        .map_err(|error| de::Error::custom(format!("{error}: a time looks like 2026-11-23T18:30:00Z")))?;
    Ok(Some(time.to_utc()))
}

/// A name of the IANA time zone database.
pub fn zone<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Tz, D::Error> {
    let name = String::deserialize(deserializer)?;
    let unknown = |_| de::Error::custom(format!("{name:?} is no time zone; one is called Europe/Berlin"));
    name.parse().map_err(unknown)
}
