//! Measured loads: single ones, their repetitions, and comparisons with a baseline.

use std::fmt;
use std::time::Duration;

use crate::figures::{Figure, Latency, Unit, median, number};
use crate::row::Row;

/// One load on one subject.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    pub rate: f64,
    pub latency: Latency,
    /// Requests answered with success, and stored and projected where the subject does that.
    pub acknowledged: i64,
    /// Time from the last request until the totals included every purchase.
    pub drained_after: Option<Duration>,
}

impl fmt::Display for Measured {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:>9}/s  {} ms", number(self.rate), self.latency)?;
        match self.drained_after {
            Some(drained) => write!(formatter, "  projected after {} ms", drained.as_millis()),
            None => Ok(()),
        }
    }
}

/// The repetitions of a load on one subject.
#[derive(Clone, Debug)]
pub struct Runs {
    pub name: &'static str,
    pub connections: u32,
    pub measured: Vec<Measured>,
}

impl Runs {
    pub fn rate(&self) -> Figure {
        Figure::new(Unit::PerSecond, self.measured.iter().map(|run| run.rate).collect())
    }

    pub fn latency(&self) -> Latency {
        let median_of =
            |pick: fn(&Latency) -> f64| median(&self.measured.iter().map(|run| pick(&run.latency)).collect::<Vec<_>>());
        Latency {
            p50_ms: median_of(|latency| latency.p50_ms),
            p99_ms: median_of(|latency| latency.p99_ms),
            p999_ms: median_of(|latency| latency.p999_ms),
        }
    }

    pub fn row(&self) -> Row {
        self.row_named(self.name)
    }

    /// A baseline's name stands in parentheses.
    pub fn baseline_row(&self) -> Row {
        self.row_named(&format!("({})", self.name))
    }

    fn row_named(&self, name: &str) -> Row {
        Row::new(format!("{name}, {} connections", self.connections), self.rate()).latency(self.latency())
    }
}

/// A subject and its baseline, measured in turns.
#[derive(Clone, Debug)]
pub struct Compared {
    /// Length of the log at the beginning.
    pub events: i64,
    pub ours: Runs,
    pub baseline: Runs,
}

impl Compared {
    /// The ratio to the baseline in each repetition.
    pub fn ratios(&self) -> Figure {
        Figure::new(Unit::Times, self.ours.rate().ratios(&self.baseline.rate()))
    }
}
