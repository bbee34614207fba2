//! The report: JSON for programs, a Markdown table for people.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::environment::Environment;
use crate::row::Row;
use crate::settings::{Section, Settings};

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
    pub settings: Settings,
    pub environment: Environment,
    pub sections: Vec<Measured>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Measured {
    pub section: Section,
    pub rows: Vec<Row>,
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
        for Measured { section, rows } in &self.sections {
            let _ = write!(page, "\n## {}\n\n{}", section.name(), aligned(rows));
        }
        let Settings { repetitions, seconds, long_load_seconds, .. } = self.settings;
        let _ = write!(
            page,
            "\n## Conditions\n\n- {repetitions} repetitions of {seconds} s each; one load of {long_load_seconds} s\n- took {} min\n",
            self.took_s / 60
        );
        let Environment { machine, versions, postgres_settings, baselines } = &self.environment;
        for (name, value) in [machine, versions, postgres_settings, baselines].into_iter().flatten() {
            let _ = writeln!(page, "- {name}: {value}");
        }
        page
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
    use super::aligned;
    use crate::figures::{Figure, Unit};
    use crate::row::{Row, Target};

    #[test]
    fn a_table_is_markdown_with_one_line_for_each_row() {
        let rate = |value| Figure::new(Unit::PerSecond, vec![value]);
        let row = Row::new("purchases", rate(50_000.0)).relative_to("stores nothing", rate(100_000.0));
        let table = aligned(&[row.target(Target::RatioAtLeast(0.5)), Row::new("alone", rate(1.0))]);
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines.len(), 4);
        assert!(lines.iter().all(|line| line.chars().count() == lines[0].chars().count()), "{table}");
        let cells: Vec<&str> = lines[2].trim_matches('|').split('|').map(str::trim).collect();
        assert_eq!(cells, ["purchases", "50,000/s", "", "stores nothing: 100,000/s", "0.50", "ratio ≥ 0.5", "yes"]);
        assert!(lines[1].chars().all(|character| "|- ".contains(character)), "{table}");
    }
}
