//! Minutes, hours and days of a time zone, as moments. Pure.
//!
//! Nothing is assumed of the clock but that it is a multiple of a quarter of an hour away from UTC, as it is everywhere: when it
//! is changed, an hour may come twice or not at all, and a day has 23 or 25 hours, or lacks its midnight.

use chrono::{DateTime, FixedOffset, NaiveDate, Offset, TimeDelta, Timelike, Utc};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How long a bucket is.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Interval {
    Minute,
    Hour,
    Day,
}

const MINUTE: TimeDelta = TimeDelta::minutes(1);
const QUARTER: TimeDelta = TimeDelta::minutes(15);
/// Behind the beginning of a day, its end is not sought before.
const SHORTEST_DAY: TimeDelta = TimeDelta::hours(20);

/// What the clock on the wall shows all the time that a bucket lasts.
type Face = (NaiveDate, Option<(u32, FixedOffset)>);

impl Interval {
    /// Of what the bucket is made up.
    pub const fn step(self) -> TimeDelta {
        match self {
            Self::Minute => MINUTE,
            Self::Hour | Self::Day => QUARTER,
        }
    }

    /// How far a range reaches back when it is not said.
    pub const fn usual_range(self) -> TimeDelta {
        match self {
            Self::Minute => TimeDelta::minutes(60),
            Self::Hour => TimeDelta::hours(48),
            Self::Day => TimeDelta::days(30),
        }
    }

    /// Where the buckets meet, from the one that holds `from` up to and with the one that holds the moment before `to`; `None`
    /// when they are more than `most`.
    pub fn boundaries(
        self,
        zone: Tz,
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

    /// Of the bucket that holds a moment.
    fn beginning(self, zone: Tz, moment: DateTime<Utc>) -> DateTime<Utc> {
        let step_s = self.step().num_seconds();
        let seconds = moment.timestamp();
        let mut at = DateTime::from_timestamp_secs(seconds - seconds.rem_euclid(step_s)).unwrap_or(moment);
        while self != Self::Minute && self.face(zone, at - QUARTER) == self.face(zone, at) {
            at -= QUARTER;
        }
        at
    }

    /// Of the bucket that begins at a moment.
    fn end(self, zone: Tz, beginning: DateTime<Utc>) -> DateTime<Utc> {
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

    fn face(self, zone: Tz, moment: DateTime<Utc>) -> Face {
        let local = moment.with_timezone(&zone);
        let hour = (self == Self::Hour).then(|| (local.hour(), local.offset().fix()));
        (local.date_naive(), hour)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(time: &str) -> DateTime<Utc> {
        time.parse().unwrap()
    }

    /// The buckets of a range, each by its beginning on the wall and its length in minutes.
    fn buckets(interval: Interval, zone: &str, from: &str, to: &str) -> Vec<(String, i64)> {
        let zone: Tz = zone.parse().unwrap();
        let boundaries = interval.boundaries(zone, at(from), at(to), 1500).unwrap();
        let bucket = |pair: &[DateTime<Utc>]| {
            let begins = pair[0].with_timezone(&zone).format("%d %H:%M%:z").to_string();
            (begins, (pair[1] - pair[0]).num_minutes())
        };
        boundaries.windows(2).map(bucket).collect()
    }

    fn assert_buckets(found: &[(String, i64)], expected: &[(&str, i64)]) {
        let found: Vec<_> = found.iter().map(|(begins, minutes)| (begins.as_str(), *minutes)).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn days_are_those_of_the_zone_however_long() {
        let spring = buckets(Interval::Day, "Europe/Berlin", "2026-03-28T12:00:00Z", "2026-03-30T12:00:00Z");
        assert_buckets(&spring, &[("28 00:00+01:00", 1440), ("29 00:00+01:00", 1380), ("30 00:00+02:00", 1440)]);
        let autumn = buckets(Interval::Day, "Europe/Berlin", "2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z");
        assert_buckets(&autumn, &[("25 00:00+02:00", 1500)]);
        let kathmandu = buckets(Interval::Day, "Asia/Kathmandu", "2026-03-28T18:14:59Z", "2026-03-28T18:15:01Z");
        assert_buckets(&kathmandu, &[("28 00:00+05:45", 1440), ("29 00:00+05:45", 1440)]);
    }

    #[test]
    fn a_day_may_lack_its_midnight_or_have_two() {
        // The clock goes from 00:00 to 01:00, and in autumn from 00:00 back to 23:00.
        let cairo = buckets(Interval::Day, "Africa/Cairo", "2026-04-23T12:00:00Z", "2026-04-24T12:00:00Z");
        assert_buckets(&cairo, &[("23 00:00+02:00", 1440), ("24 01:00+03:00", 1380)]);
        let cairo = buckets(Interval::Day, "Africa/Cairo", "2026-10-29T12:00:00Z", "2026-10-30T12:00:00Z");
        assert_buckets(&cairo, &[("29 00:00+03:00", 1500), ("30 00:00+02:00", 1440)]);
    }

    #[test]
    fn an_hour_that_comes_twice_is_two_and_one_that_does_not_come_is_none() {
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
    fn more_buckets_than_may_be_are_none_however_far_away() {
        let (from, to) = (at("2026-01-01T00:00:00Z"), at("2026-01-03T00:00:00Z"));
        assert_eq!(Interval::Hour.boundaries(Tz::UTC, from, to, 48).unwrap().len(), 49);
        assert_eq!(Interval::Hour.boundaries(Tz::UTC, from, to, 47), None);
        for zone in ["Europe/Berlin", "Africa/Monrovia", "Pacific/Apia", "Antarctica/Troll"] {
            let (begin, end) = (at("0000-01-01T00:00:00Z"), at("9999-12-31T23:59:59Z"));
            for interval in [Interval::Minute, Interval::Hour, Interval::Day] {
                assert_eq!(interval.boundaries(zone.parse().unwrap(), begin, end, 1500), None, "{zone} {interval:?}");
            }
        }
    }
}
