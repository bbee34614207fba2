//! Figures: medians over repetitions, ratios, percentiles.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Unit {
    #[serde(rename = "1/s")]
    PerSecond,
    #[serde(rename = "ms")]
    Milliseconds,
    #[serde(rename = "s")]
    Seconds,
    #[serde(rename = "MB")]
    Megabytes,
    #[serde(rename = "B")]
    Bytes,
    #[serde(rename = "x")]
    Times,
}

/// The samples of all repetitions, and their median.
#[derive(Clone, Debug, Serialize)]
pub struct Figure {
    pub median: f64,
    pub unit: Unit,
    pub samples: Vec<f64>,
}

impl Figure {
    pub fn new(unit: Unit, samples: Vec<f64>) -> Self {
        Self { median: median(&samples), unit, samples }
    }

    pub fn single(unit: Unit, sample: f64) -> Self {
        Self::new(unit, vec![sample])
    }

    /// The median of the ratios within each repetition: a machine that slows down over time slows both sides.
    pub fn ratio_to(&self, baseline: &Self) -> f64 {
        if self.samples.len() != baseline.samples.len() {
            return self.median / baseline.median;
        }
        median(&self.ratios(baseline))
    }

    pub fn ratios(&self, baseline: &Self) -> Vec<f64> {
        self.samples.iter().zip(&baseline.samples).map(|(ours, theirs)| ours / theirs).collect()
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = match self.unit {
            Unit::PerSecond => "/s",
            Unit::Milliseconds => " ms",
            Unit::Seconds => " s",
            Unit::Megabytes => " MB",
            Unit::Bytes => " bytes",
            Unit::Times => "",
        };
        write!(formatter, "{}{unit}", number(self.median))
    }
}

#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[expect(clippy::struct_field_names, reason = "the unit belongs to the name")]
pub struct Latency {
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub p999_ms: f64,
}

impl fmt::Display for Latency {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&[self.p50_ms, self.p99_ms, self.p999_ms].map(number).join(" / "))
    }
}

/// NaN without samples.
pub fn median(samples: &[f64]) -> f64 {
    let sorted = sorted(samples);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => f64::NAN,
        length if length % 2 == 1 => sorted[middle],
        _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
    }
}

/// The smallest sample that is at least as large as `per_mille` thousandths of all. NaN without samples.
pub fn percentile(samples: &[f64], per_mille: usize) -> f64 {
    let rank = (samples.len() * per_mille).div_ceil(1000).max(1);
    sorted(samples).get(rank - 1).copied().unwrap_or(f64::NAN)
}

fn sorted(samples: &[f64]) -> Vec<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

/// Exact up to 2⁵³, far above any count of events.
#[expect(clippy::cast_precision_loss, reason = "see above")]
pub fn count(number: i64) -> f64 {
    number as f64
}

pub fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// With separators.
pub fn whole(number: i64) -> String {
    grouped(&number.to_string())
}

/// Large numbers with separators, small ones with up to two decimals.
pub fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 1000.0 => grouped(&format!("{value:.0}")),
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

fn grouped(digits: &str) -> String {
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) && digit.is_ascii_digit() {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{Figure, Unit, median, number, percentile, whole};

    #[track_caller]
    fn same(left: f64, right: f64) {
        assert!((left - right).abs() < 1e-9, "{left} is not {right}");
    }

    #[test]
    fn the_median_is_the_middle_sample_or_between_the_two_in_the_middle() {
        same(median(&[3.0, 1.0, 2.0]), 2.0);
        same(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn a_percentile_is_one_of_the_samples() {
        let samples: Vec<f64> = (1..=200).map(f64::from).collect();
        same(percentile(&samples, 500), 100.0);
        same(percentile(&samples, 990), 198.0);
        same(percentile(&samples, 999), 200.0);
        same(percentile(&[7.0], 500), 7.0);
    }

    #[test]
    fn a_ratio_compares_the_samples_of_each_repetition() {
        // The machine became twice as slow after the first repetition.
        let ours = Figure::new(Unit::PerSecond, vec![100.0, 50.0, 50.0]);
        let theirs = Figure::new(Unit::PerSecond, vec![200.0, 100.0, 100.0]);
        same(ours.ratio_to(&theirs), 0.5);
        same(ours.ratio_to(&Figure::new(Unit::PerSecond, vec![25.0])), 2.0);
    }

    #[test]
    fn numbers_have_separators_or_decimals() {
        assert_eq!([0, 17, 10_000_000].map(whole), ["0", "17", "10,000,000"]);
        for (value, text) in [(1_234_567.4, "1,234,567"), (999.6, "1000"), (12.34, "12.3"), (0.126, "0.13")] {
            assert_eq!(number(value), text);
        }
    }
}
