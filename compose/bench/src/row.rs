//! A row of the results: a figure, its baseline, its target.

use serde::Serialize;

use crate::figures::{Figure, Latency, number};

#[derive(Clone, Debug, Serialize)]
pub struct Row {
    pub what: String,
    pub measured: Figure,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency: Option<Latency>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub beside: Option<Baseline>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<Target>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reached: Option<bool>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Baseline {
    pub what: String,
    pub measured: Figure,
    pub ratio: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// The ratio to the baseline.
    RatioAtLeast(f64),
    /// The figure itself, in its unit.
    AtMost(f64),
}

impl Row {
    pub fn new(what: impl Into<String>, measured: Figure) -> Self {
        Self { what: what.into(), measured, latency: None, beside: None, target: None, reached: None }
    }

    #[must_use]
    pub fn latency(mut self, latency: Latency) -> Self {
        self.latency = Some(latency);
        self
    }

    #[must_use]
    pub fn relative_to(mut self, what: impl Into<String>, measured: Figure) -> Self {
        let ratio = self.measured.ratio_to(&measured);
        self.beside = Some(Baseline { what: what.into(), measured, ratio });
        self
    }

    /// To be called last: it evaluates the row.
    #[must_use]
    pub fn target(mut self, target: impl Into<Option<Target>>) -> Self {
        self.target = target.into();
        self.reached = self.target.map(|target| match target {
            Target::RatioAtLeast(least) => self.beside.as_ref().is_some_and(|beside| beside.ratio >= least),
            Target::AtMost(most) => self.measured.median <= most,
        });
        self
    }

    pub fn cells(&self) -> [String; 7] {
        let beside = self.beside.as_ref();
        let target = self.target.map(|target| match target {
            Target::RatioAtLeast(least) => format!("ratio ≥ {least}"),
            Target::AtMost(most) => format!("≤ {}", number(most)),
        });
        [
            self.what.clone(),
            self.measured.to_string(),
            self.latency.map(|latency| latency.to_string()).unwrap_or_default(),
            beside.map(|beside| format!("{}: {}", beside.what, beside.measured)).unwrap_or_default(),
            beside.map(|beside| number(beside.ratio)).unwrap_or_default(),
            target.unwrap_or_default(),
            self.reached.map(|reached| if reached { "yes" } else { "NO" }.to_owned()).unwrap_or_default(),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::{Row, Target};
    use crate::figures::{Figure, Unit};

    fn rate(value: f64) -> Figure {
        Figure::new(Unit::PerSecond, vec![value])
    }

    #[test]
    fn a_ratio_reaches_its_target_if_it_is_at_least_as_high() {
        let row = |ours| {
            Row::new("purchases", rate(ours)).relative_to("nothing", rate(100.0)).target(Target::RatioAtLeast(0.5))
        };
        assert_eq!(row(50.0).reached, Some(true));
        assert_eq!(row(49.0).reached, Some(false));
    }

    #[test]
    fn a_figure_reaches_its_target_if_it_is_at_most_as_high() {
        let row = |ms| Row::new("visible", Figure::new(Unit::Milliseconds, vec![ms])).target(Target::AtMost(5.0));
        assert_eq!(row(5.0).reached, Some(true));
        assert_eq!(row(5.1).reached, Some(false));
        assert_eq!(row(5.1).cells(), ["visible", "5.10 ms", "", "", "", "≤ 5.00", "NO"]);
    }

    #[test]
    fn a_row_without_a_target_neither_reaches_nor_misses_it() {
        assert_eq!(Row::new("purchases", rate(1.0)).target(None).reached, None);
    }

    #[test]
    fn a_ratio_without_a_baseline_misses_its_target() {
        assert_eq!(Row::new("purchases", rate(1.0)).target(Target::RatioAtLeast(0.5)).reached, Some(false));
        let unmeasured = Row::new("purchases", rate(f64::NAN)).target(Target::AtMost(1.0));
        assert_eq!(unmeasured.reached, Some(false));
    }
}
