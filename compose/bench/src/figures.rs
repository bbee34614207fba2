//! Figures: medians over repetitions, ratios, percentiles.

use std::fmt;
use std::time::Duration;

use indicatif::{HumanCount, HumanFloatCount};
use serde::{Deserialize, Serialize};

/// The samples of all repetitions, and their median.
#[derive(Clone, Debug, Serialize)]
pub struct Figure {
    pub median: f64,
    /// 1/s, ms, s, MB, B, or x: a ratio.
    unit: &'static str,
    samples: Vec<f64>,
}

impl Figure {
    pub fn new(unit: &'static str, samples: Vec<f64>) -> Self {
        Self { median: median(&samples), unit, samples }
    }

    /// The ratios within each repetition: a machine that slows down over time slows both sides.
    pub fn relative_to(&self, baseline: &Self) -> Self {
        Self::new("x", self.samples.iter().zip(&baseline.samples).map(|(ours, theirs)| ours / theirs).collect())
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = number(self.median);
        match self.unit {
            "1/s" => write!(formatter, "{number}/s"),
            "x" => formatter.write_str(&number),
            unit => write!(formatter, "{number} {unit}"),
        }
    }
}

#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[expect(clippy::struct_field_names, reason = "the unit belongs to the name")]
pub struct Latency {
    p50_ms: f64,
    p99_ms: f64,
    p999_ms: f64,
}

impl Latency {
    pub fn median(all: &[Self]) -> Self {
        let of = |pick: fn(&Self) -> f64| median(&all.iter().map(pick).collect::<Vec<_>>());
        Self { p50_ms: of(|one| one.p50_ms), p99_ms: of(|one| one.p99_ms), p999_ms: of(|one| one.p999_ms) }
    }
}

impl fmt::Display for Latency {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&[self.p50_ms, self.p99_ms, self.p999_ms].map(number).join(" / "))
    }
}

/// The sample in the middle, or between the two in the middle. NaN without samples.
fn median(samples: &[f64]) -> f64 {
    let sorted = sorted(samples);
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    f64::midpoint(sorted[last / 2], sorted[sorted.len() / 2])
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
pub fn whole(number: i64) -> HumanCount {
    HumanCount(number.unsigned_abs())
}

/// Large numbers with separators, small ones with up to two decimals.
pub fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 1000.0 => format!("{:.0}", HumanFloatCount(value)),
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_sample_or_between_the_two_in_the_middle() {
        for (samples, middle) in [(&[3.0, 1.0, 2.0][..], "2.00"), (&[4.0, 1.0, 2.0, 3.0], "2.50"), (&[], "NaN")] {
            assert_eq!(number(median(samples)), middle);
        }
    }

    #[test]
    fn a_percentile_is_one_of_the_samples() {
        let samples: Vec<f64> = (1..=200).map(f64::from).collect();
        assert_eq!([500, 990, 999].map(|per_mille| number(percentile(&samples, per_mille))), ["100", "198", "200"]);
        assert_eq!(number(percentile(&[7.0], 500)), "7.00");
    }

    #[test]
    fn a_ratio_compares_the_samples_of_each_repetition() {
        // The machine slowed down after the first repetition, and in the last one during our turn.
        let ours = Figure::new("1/s", vec![100.0, 50.0, 25.0]);
        let theirs = Figure::new("1/s", vec![200.0, 100.0, 100.0]);
        assert_eq!(
            ours.relative_to(&theirs).samples.iter().map(|ratio| number(*ratio)).collect::<Vec<_>>(),
            ["0.50", "0.50", "0.25"]
        );
        assert_eq!(ours.relative_to(&theirs).to_string(), "0.50");
    }

    #[test]
    fn numbers_have_separators_or_decimals() {
        assert_eq!([0, 17, 10_000_000].map(|events| whole(events).to_string()), ["0", "17", "10,000,000"]);
        assert_eq!([1_234_567.4, 999.6, 12.34, 0.126].map(number), ["1,234,567", "1000", "12.3", "0.13"]);
    }
}
