//! Times and time zones as query parameters.

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use serde::{Deserialize, Deserializer, de};

/// A time after RFC 3339. Its years, 0 to 9999, fit into every database.
pub fn rfc3339<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<DateTime<Utc>>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let time = DateTime::parse_from_rfc3339(&text)
        .map_err(|error| de::Error::custom(format!("{error}: expected a time such as 2026-11-23T18:30:00Z")))?;
    Ok(Some(time.to_utc()))
}

/// A time zone by its name in the IANA database.
pub fn zone<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Tz, D::Error> {
    let name = String::deserialize(deserializer)?;
    let unknown = |_| de::Error::custom(format!("{name:?} is not a time zone; expected a name such as Europe/Berlin"));
    name.parse().map_err(unknown)
}
