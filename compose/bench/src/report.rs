//! The report: rows of figures with their baselines and targets; JSON for programs, a Markdown table for people.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::{Environment, Figure, Latency, Options, Section, number};

const HEADINGS: [&str; 7] = ["what", "measured", "p50 / p99 / p99.9 ms", "beside", "ratio", "target", "reached"];

const HOW_TO_READ: &str = "Every figure is the median over the repetitions. A ratio is the median of the ratios \
    within each repetition, which measures both sides directly after each other. After each load the log was counted: \
    acknowledged = stored = projected. wrk corrects its latencies for requests that a slow answer delayed. wrk and \
    everything it measures share one machine.";

#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// In whole seconds.
    pub started_at: DateTime<Utc>,
    pub took_s: u64,
    pub settings: Options,
    pub environment: Environment,
    pub sections: Vec<Results>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Results {
    pub section: Section,
    pub rows: Vec<Row>,
}

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

impl Report {
    /// Returns the path of the files without their extensions.
    pub fn save(&self, folder: &Path) -> Result<String> {
        let name = folder.join(self.started_at.format("%Y%m%dT%H%M%SZ").to_string());
        for (ending, text) in [("json", serde_json::to_string_pretty(self)? + "\n"), ("md", self.page())] {
            let file = name.with_extension(ending);
            fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
        }
        Ok(name.display().to_string())
    }

    pub fn page(&self) -> String {
        let mut page = format!("# Bench of {}\n\n{HOW_TO_READ}\n", self.started_at.format("%Y-%m-%d %H:%M UTC"));
        for Results { section, rows } in &self.sections {
            let _ = write!(page, "\n## {}\n\n{}", section.title(), aligned(rows));
        }
        let (Options { repetitions, seconds, long_load_seconds, .. }, minutes) = (&self.settings, self.took_s / 60);
        let _ = writeln!(page, "\n## Conditions\n\n- {repetitions} repetitions of {seconds} s each");
        let _ = writeln!(page, "- one load of {long_load_seconds} s");
        let _ = writeln!(page, "- took {minutes} min");
        let Environment { machine, versions, postgres_settings, baselines } = &self.environment;
        for (name, value) in [machine, versions, postgres_settings, baselines].into_iter().flatten() {
            let _ = writeln!(page, "- {name}: {value}");
        }
        page
    }
}

impl Row {
    pub fn new(what: impl Into<String>, measured: Figure) -> Self {
        Self { what: what.into(), measured, latency: None, beside: None, target: None, reached: None }
    }

    #[must_use]
    pub fn latency(self, latency: Latency) -> Self {
        Self { latency: Some(latency), ..self }
    }

    #[must_use]
    pub fn relative_to(self, what: impl Into<String>, measured: &Figure) -> Self {
        let ratio = self.measured.relative_to(measured).median;
        Self { beside: Some(Baseline { what: what.into(), measured: measured.clone(), ratio }), ..self }
    }

    /// To be called last: it evaluates the row.
    #[must_use]
    pub fn target(self, target: impl Into<Option<Target>>) -> Self {
        let target = target.into();
        let reached = target.map(|target| match target {
            Target::RatioAtLeast(least) => self.beside.as_ref().is_some_and(|beside| beside.ratio >= least),
            Target::AtMost(most) => self.measured.median <= most,
        });
        Self { target, reached, ..self }
    }

    fn cells(&self) -> [String; 7] {
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

/// A Markdown table with columns of equal width.
fn aligned(rows: &[Row]) -> String {
    let mut lines = vec![HEADINGS.map(str::to_owned), [const { String::new() }; 7]];
    lines.extend(rows.iter().map(Row::cells));
    let width = |column: usize| lines.iter().map(|cells| cells[column].chars().count()).max().unwrap_or_default();
    let widths = std::array::from_fn::<usize, 7, _>(width);
    lines[1] = widths.map(|width| "-".repeat(width));
    let mut table = String::new();
    for cells in &lines {
        for (cell, width) in cells.iter().zip(widths) {
            let _ = write!(table, "| {cell:<width$} ");
        }
        table.push_str("|\n");
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(unit: &'static str, value: f64) -> Row {
        Row::new("ours", Figure::new(unit, vec![value]))
    }

    #[test]
    fn a_row_reaches_its_target_or_misses_it() {
        let relative = |ours| row("1/s", ours).relative_to("nothing", &Figure::new("1/s", vec![100.0]));
        for (row, target, reached) in [
            (relative(50.0), Some(Target::RatioAtLeast(0.5)), Some(true)),
            (relative(49.0), Some(Target::RatioAtLeast(0.5)), Some(false)),
            (relative(50.0), None, None),
            // Without a baseline there is no ratio.
            (row("1/s", 50.0), Some(Target::RatioAtLeast(0.5)), Some(false)),
            (row("ms", 5.0), Some(Target::AtMost(5.0)), Some(true)),
            (row("ms", 5.1), Some(Target::AtMost(5.0)), Some(false)),
            (row("ms", f64::NAN), Some(Target::AtMost(5.0)), Some(false)),
        ] {
            let row = row.target(target);
            assert_eq!(row.reached, reached, "{row:?}");
        }
    }

    #[test]
    fn a_table_is_markdown_with_one_line_for_each_row() {
        let purchases = row("1/s", 50_000.0).relative_to("stores nothing", &Figure::new("1/s", vec![100_000.0]));
        let table = aligned(&[
            purchases.target(Target::RatioAtLeast(0.5)),
            row("ms", 5.1).target(Target::AtMost(5.0)),
            row("B", 215.0),
        ]);
        let lines: Vec<&str> = table.lines().collect();
        assert!(lines.iter().all(|line| line.chars().count() == lines[0].chars().count()), "{table}");
        assert!(lines[1].chars().all(|character| "|- ".contains(character)), "{table}");
        let cells = lines[2..].iter().map(|line| line.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>());
        let expected = [
            ["ours", "50,000/s", "", "stores nothing: 100,000/s", "0.50", "ratio ≥ 0.5", "yes"],
            ["ours", "5.10 ms", "", "", "", "≤ 5.00", "NO"],
            ["ours", "215 B", "", "", "", "", ""],
        ];
        assert_eq!(cells.collect::<Vec<_>>(), expected);
    }
}
