//! Times as query parameters and in responses.

use chrono::{DateTime, Datelike, FixedOffset, TimeDelta, Timelike, Utc};
use contract::time_zone::Zone;
use serde::{Deserialize, Deserializer, de};

/// A time after RFC 3339.
pub fn rfc3339<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<DateTime<Utc>>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let time = parse(&text)
        .map_err(|error| de::Error::custom(format!("{error}: expected a time such as 2026-11-23T18:30:00Z")))?;
    Ok(Some(time))
}

/// The time in UTC has a year of RFC 3339 too, so that a link may repeat it, and every database can store it.
fn parse(text: &str) -> Result<DateTime<Utc>, String> {
    // chrono also accepts the minus sign of Unicode.
    if !text.is_ascii() {
        return Err("a character is not ASCII".to_owned());
    }
    let time = DateTime::parse_from_rfc3339(text).map_err(|error| error.to_string())?.to_utc();
    if !has_a_year(&time) {
        return Err("the year is not one of 0000 to 9999 in UTC".to_owned());
    }
    let is_leap_second = time.nanosecond() >= 1_000_000_000;
    let next = time + TimeDelta::seconds(1);
    if is_leap_second && (next.day() != 1 || next.num_seconds_from_midnight() != 0) {
        return Err("second 60 exists only at the end of a month in UTC".to_owned());
    }
    Ok(time)
}

/// The time with the offset of a time zone in whole minutes, as RFC 3339 writes them. Zones had offsets with seconds until 1972.
pub fn local(time: DateTime<Utc>, zone: &Zone) -> DateTime<FixedOffset> {
    let offset_s = zone.local(time).offset().local_minus_utc();
    let offset = FixedOffset::east_opt(offset_s / 60 * 60).expect("it is closer to zero than a valid offset");
    time.with_timezone(&offset)
}

/// Whether RFC 3339 can express a time, both in UTC and in a time zone.
pub fn is_expressible(time: DateTime<Utc>, zone: &Zone) -> bool {
    has_a_year(&time) && has_a_year(&local(time, zone))
}

/// Whether RFC 3339 has the year.
fn has_a_year(time: &impl Datelike) -> bool {
    (0..=9999).contains(&time.year())
}

#[cfg(test)]
mod tests {
    use contract::time_zone::TimeZones;

    use super::*;

    #[test]
    fn times_of_rfc_3339_are_accepted() {
        for (text, in_utc) in [
            ("2026-11-23T18:30:00Z", "2026-11-23T18:30:00Z"),
            ("2026-11-23t18:30:00.5z", "2026-11-23T18:30:00.500Z"),
            ("2026-11-23T18:30:00-23:59", "2026-11-24T18:29:00Z"),
            ("0000-01-01T00:00:00Z", "0000-01-01T00:00:00Z"),
            ("0000-01-01T23:59:00+23:59", "0000-01-01T00:00:00Z"),
            ("9999-12-31T23:59:60Z", "9999-12-31T23:59:60Z"),
            ("2016-12-31T23:59:60.25Z", "2016-12-31T23:59:60.250Z"),
            ("2017-01-01T05:44:60+05:45", "2016-12-31T23:59:60Z"),
            ("2016-02-29T23:59:60Z", "2016-02-29T23:59:60Z"),
        ] {
            let time = parse(text).unwrap();
            assert_eq!(serde_json::to_value(time).unwrap(), in_utc, "{text}");
            assert_eq!(parse(in_utc), Ok(time), "{text}: what is written can be read");
        }
    }

    #[test]
    fn other_times_are_refused() {
        for text in [
            "",
            "yesterday",
            "2026-11-23",
            "2026-11-23T18:30:00",
            "2026-11-23T18:30Z",
            "2026-11-23T24:00:00Z",
            "2026-11-23T18:30:00+0200",
            "2026-11-23T18:30:00+24:00",
            "2026-11-23T18:30:00\u{2212}02:00",
            "+12026-01-01T00:00:00Z",
            "-4800-01-01T00:00:00Z",
            // In UTC, outside of the years 0000 to 9999.
            "0000-01-01T00:00:00+00:01",
            "9999-12-31T23:59:59-00:01",
            "9999-12-31T23:59:60-23:59",
            // No leap second there.
            "2026-11-23T10:00:60Z",
            "2026-11-01T10:00:60Z",
            "2016-12-31T23:58:60Z",
            "2016-12-30T23:59:60Z",
            "2016-12-31T23:59:60+01:00",
            "2016-12-31T23:59:61Z",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_local_time_is_the_same_moment_even_if_the_offset_had_seconds() {
        for (zone, time, written) in [
            ("Europe/Berlin", "1890-06-01T11:15:00Z", "1890-06-01T12:08:00+00:53"),
            ("Africa/Monrovia", "1971-12-31T12:00:00Z", "1971-12-31T11:16:00-00:44"),
            ("Europe/Berlin", "2026-06-01T10:00:00Z", "2026-06-01T12:00:00+02:00"),
        ] {
            let time: DateTime<Utc> = time.parse().unwrap();
            let found = local(time, &TimeZones::bundled().get(zone).unwrap()).to_rfc3339();
            assert_eq!(found, written);
            assert_eq!(parse(&found), Ok(time));
        }
    }
}
