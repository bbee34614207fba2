//! Minutes, hours and days of a time zone as instants. Pure.
//!
//! The only assumption is that UTC offsets are multiples of 15 minutes, as they are in every zone today. When clocks change, an hour may
//! repeat or be skipped, and a day has 23 or 25 hours, or no midnight.

use chrono::{DateTime, FixedOffset, NaiveDate, TimeDelta, Timelike, Utc};
use contract::time_zone::Zone;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Length of a bucket.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Interval {
    Minute,
    Hour,
    Day,
}

const MINUTE: TimeDelta = TimeDelta::minutes(1);
const QUARTER: TimeDelta = TimeDelta::minutes(15);
/// The search for the end of a day starts this long after its beginning.
const SHORTEST_DAY: TimeDelta = TimeDelta::hours(20);

/// What stays the same on a local clock for the whole of a bucket.
type Face = (NaiveDate, Option<(u32, FixedOffset)>);

impl Interval {
    /// Length of the stored buckets that it is summed from.
    pub const fn step(self) -> TimeDelta {
        match self {
            Self::Minute => MINUTE,
            Self::Hour | Self::Day => QUARTER,
        }
    }

    /// Default length of a range.
    pub const fn usual_range(self) -> TimeDelta {
        match self {
            Self::Minute => TimeDelta::minutes(60),
            Self::Hour => TimeDelta::hours(48),
            Self::Day => TimeDelta::days(30),
        }
    }

    /// Boundaries of the buckets from the one that contains `from` to the one that contains the instant before `to`; `None` if there
    /// are more than `most` buckets.
    pub fn boundaries(
        self,
        zone: &Zone,
        from: DateTime<Utc>,
        to: DateTime<Utc>,
        most: usize,
    ) -> Option<Vec<DateTime<Utc>>> {
        let mut boundaries = vec![self.beginning(zone, from)];
        while let Some(&last) = boundaries.last()
            && last < to
        {
            if boundaries.len() > most {
                return None;
            }
            boundaries.push(self.end(zone, last));
        }
        Some(boundaries)
    }

    /// Beginning of the bucket that contains an instant.
    fn beginning(self, zone: &Zone, instant: DateTime<Utc>) -> DateTime<Utc> {
        let step_s = self.step().num_seconds();
        let seconds = instant.timestamp();
        let mut at = DateTime::from_timestamp_secs(seconds - seconds.rem_euclid(step_s)).unwrap_or(instant);
        while self != Self::Minute && self.face(zone, at - QUARTER) == self.face(zone, at) {
            at -= QUARTER;
        }
        at
    }

    /// End of the bucket that begins at an instant.
    fn end(self, zone: &Zone, beginning: DateTime<Utc>) -> DateTime<Utc> {
        let mut at = match self {
            Self::Minute => return beginning + MINUTE,
            Self::Hour => beginning + QUARTER,
            Self::Day => beginning + SHORTEST_DAY,
        };
        while self.face(zone, at) == self.face(zone, beginning) {
            at += QUARTER;
        }
        at
    }

    fn face(self, zone: &Zone, instant: DateTime<Utc>) -> Face {
        let local = zone.local(instant);
        let hour = (self == Self::Hour).then(|| (local.hour(), *local.offset()));
        (local.date_naive(), hour)
    }
}

#[cfg(test)]
mod tests {
    use contract::time_zone::TimeZones;

    use super::*;

    fn at(time: &str) -> DateTime<Utc> {
        time.parse().unwrap()
    }

    fn zone(name: &str) -> Zone {
        TimeZones::bundled().get(name).unwrap()
    }

    /// The buckets of a range: local beginning and length in minutes.
    fn buckets(interval: Interval, zone: &str, from: &str, to: &str) -> Vec<(String, i64)> {
        let zone = self::zone(zone);
        let boundaries = interval.boundaries(&zone, at(from), at(to), 1500).unwrap();
        let bucket = |pair: &[DateTime<Utc>]| {
            let begins = zone.local(pair[0]).format("%d %H:%M%:z").to_string();
            (begins, (pair[1] - pair[0]).num_minutes())
        };
        boundaries.windows(2).map(bucket).collect()
    }

    fn assert_buckets(found: &[(String, i64)], expected: &[(&str, i64)]) {
        let found: Vec<_> = found.iter().map(|(begins, minutes)| (begins.as_str(), *minutes)).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn days_are_those_of_the_zone_whatever_their_length() {
        let spring = buckets(Interval::Day, "Europe/Berlin", "2026-03-28T12:00:00Z", "2026-03-30T12:00:00Z");
        assert_buckets(&spring, &[("28 00:00+01:00", 1440), ("29 00:00+01:00", 1380), ("30 00:00+02:00", 1440)]);
        let autumn = buckets(Interval::Day, "Europe/Berlin", "2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z");
        assert_buckets(&autumn, &[("25 00:00+02:00", 1500)]);
        let kathmandu = buckets(Interval::Day, "Asia/Kathmandu", "2026-03-28T18:14:59Z", "2026-03-28T18:15:01Z");
        assert_buckets(&kathmandu, &[("28 00:00+05:45", 1440), ("29 00:00+05:45", 1440)]);
    }

    #[test]
    fn a_day_may_have_no_midnight_or_two() {
        // The clock goes from 00:00 to 01:00, and in autumn from 00:00 back to 23:00.
        let cairo = buckets(Interval::Day, "Africa/Cairo", "2026-04-23T12:00:00Z", "2026-04-24T12:00:00Z");
        assert_buckets(&cairo, &[("23 00:00+02:00", 1440), ("24 01:00+03:00", 1380)]);
        let cairo = buckets(Interval::Day, "Africa/Cairo", "2026-10-29T12:00:00Z", "2026-10-30T12:00:00Z");
        assert_buckets(&cairo, &[("29 00:00+03:00", 1500), ("30 00:00+02:00", 1440)]);
    }

    #[test]
    fn a_repeated_hour_is_two_buckets_and_a_skipped_hour_none() {
        let autumn = buckets(Interval::Hour, "Europe/Berlin", "2026-10-24T23:30:00Z", "2026-10-25T01:30:00Z");
        assert_buckets(&autumn, &[("25 01:00+02:00", 60), ("25 02:00+02:00", 60), ("25 02:00+01:00", 60)]);
        let spring = buckets(Interval::Hour, "Europe/Berlin", "2026-03-29T00:30:00Z", "2026-03-29T01:30:00Z");
        assert_buckets(&spring, &[("29 01:00+01:00", 60), ("29 03:00+02:00", 60)]);
        let kathmandu = buckets(Interval::Hour, "Asia/Kathmandu", "2026-03-29T00:00:00Z", "2026-03-29T00:30:00Z");
        assert_buckets(&kathmandu, &[("29 05:00+05:45", 60), ("29 06:00+05:45", 60)]);
        // By half an hour: from 02:00 back to 01:30, and from 02:00 to 02:30.
        let lord_howe = buckets(Interval::Hour, "Australia/Lord_Howe", "2026-04-04T14:00:00Z", "2026-04-04T15:45:00Z");
        assert_buckets(&lord_howe, &[("05 01:00+11:00", 60), ("05 01:30+10:30", 30), ("05 02:00+10:30", 60)]);
        let lord_howe = buckets(Interval::Hour, "Australia/Lord_Howe", "2026-10-03T15:00:00Z", "2026-10-03T16:15:00Z");
        assert_buckets(&lord_howe, &[("04 01:00+10:30", 60), ("04 02:30+11:00", 30), ("04 03:00+11:00", 60)]);
    }

    #[test]
    fn a_range_ends_before_the_bucket_that_begins_there() {
        let minutes = buckets(Interval::Minute, "UTC", "2026-01-01T00:00:30Z", "2026-01-01T00:02:00Z");
        assert_buckets(&minutes, &[("01 00:00+00:00", 1), ("01 00:01+00:00", 1)]);
        let minutes = buckets(Interval::Minute, "UTC", "2026-01-01T00:01:00Z", "2026-01-01T00:01:00.000001Z");
        assert_buckets(&minutes, &[("01 00:01+00:00", 1)]);
    }

    #[test]
    fn a_range_with_too_many_buckets_is_rejected_at_any_time() {
        let (from, to) = (at("2026-01-01T00:00:00Z"), at("2026-01-03T00:00:00Z"));
        assert_eq!(Interval::Hour.boundaries(&zone("UTC"), from, to, 48).unwrap().len(), 49);
        assert_eq!(Interval::Hour.boundaries(&zone("UTC"), from, to, 47), None);
        for zone in ["Europe/Berlin", "Africa/Monrovia", "Pacific/Apia", "Antarctica/Troll"].map(zone) {
            let (begin, end) = (at("0000-01-01T00:00:00Z"), at("9999-12-31T23:59:59Z"));
            for interval in [Interval::Minute, Interval::Hour, Interval::Day] {
                assert_eq!(interval.boundaries(&zone, begin, end, 1500), None, "{zone:?} {interval:?}");
            }
        }
    }
}
