//! The result: a row per kind of fault, as JSON for programs and as a Markdown table for people.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::torture::memory::{Finding, Harm, Period};
use crate::torture::plan::Round;

/// What happened in one round.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub round: Round,
    /// Faults that had an effect: the others found no target.
    pub injected: usize,
    pub period: Period,
    /// Time from the end of the last fault until everything worked again; or what did not.
    pub healed: Result<Duration, String>,
    /// It healed without help, and took no longer than allowed.
    pub in_time: bool,
}

impl Outcome {
    pub fn has_failed(&self) -> bool {
        !self.period.findings.is_empty() || !self.in_time
    }
}

#[derive(Debug, Serialize)]
pub struct Report {
    /// What repeats the run.
    pub command: String,
    pub seed: u64,
    pub started_at: DateTime<Utc>,
    pub took_s: u64,
    /// Acknowledged purchases that clients remember.
    pub purchases: usize,
    pub events: i64,
    pub faults: usize,
    pub rows: Vec<Row>,
    /// The first round after which something was found, or that did not heal.
    pub first_failure: Option<u32>,
    /// With the number of the round; those without were found at the end of the run.
    pub findings: Vec<(Option<u32>, Finding)>,
}

/// All rounds with the same kind of fault, or all storms.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Row {
    pub kind: String,
    /// Faults that had an effect.
    pub faults: usize,
    pub without_effect: usize,
    pub lost: usize,
    pub doubled: usize,
    pub wrong: usize,
    pub improper: usize,
    /// Known answers of Traefik.
    pub tolerated: usize,
    pub silent: usize,
    /// Longest time without a purchase in each round, of which the median and the worst are given.
    pub no_purchases_s: Spread,
    pub no_totals_s: Spread,
    pub healed_after_s: Spread,
    pub rounds: usize,
    /// Rounds after which the system healed in time, without help.
    pub healed: usize,
}

#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Spread {
    pub median: f64,
    pub worst: f64,
}

impl Spread {
    fn of(durations: impl Iterator<Item = Duration>) -> Self {
        let mut seconds: Vec<f64> = durations.map(|duration| duration.as_secs_f64()).collect();
        seconds.sort_by(f64::total_cmp);
        let median = seconds.get(seconds.len() / 2).copied().unwrap_or_default();
        Self { median, worst: seconds.last().copied().unwrap_or_default() }
    }
}

impl Row {
    fn of(kind: &str, outcomes: &[&Outcome]) -> Self {
        let count = |harm| {
            outcomes.iter().flat_map(|outcome| &outcome.period.findings).filter(|finding| finding.harm == harm).count()
        };
        let healed_after = outcomes.iter().filter_map(|outcome| outcome.healed.as_ref().ok().copied());
        Self {
            kind: kind.to_owned(),
            faults: outcomes.iter().map(|outcome| outcome.injected).sum(),
            without_effect: outcomes.iter().map(|outcome| outcome.round.faults.len() - outcome.injected).sum(),
            lost: count(Harm::Lost),
            doubled: count(Harm::Doubled),
            wrong: count(Harm::Wrong),
            improper: count(Harm::Improper),
            tolerated: outcomes.iter().map(|outcome| outcome.period.tolerated).sum(),
            silent: count(Harm::Silent),
            no_purchases_s: Spread::of(outcomes.iter().map(|outcome| outcome.period.no_purchases)),
            no_totals_s: Spread::of(outcomes.iter().map(|outcome| outcome.period.no_totals)),
            healed_after_s: Spread::of(healed_after),
            rounds: outcomes.len(),
            healed: outcomes.iter().filter(|outcome| outcome.in_time).count(),
        }
    }
}

impl Report {
    /// `at_end`: what was found after the last round.
    pub fn new(seed: u64, started_at: DateTime<Utc>, outcomes: &[Outcome], at_end: Vec<Finding>) -> Self {
        let mut kinds: BTreeMap<&str, Vec<&Outcome>> = BTreeMap::new();
        for outcome in outcomes {
            kinds.entry(outcome.round.title()).or_default().push(outcome);
        }
        let of_round = |outcome: &Outcome| {
            let number = outcome.round.number;
            outcome.period.findings.clone().into_iter().map(move |finding| (Some(number), finding))
        };
        Self {
            command: format!("cargo stack torture --seed {seed}"),
            seed,
            started_at,
            first_failure: outcomes.iter().find(|outcome| outcome.has_failed()).map(|outcome| outcome.round.number),
            took_s: (Utc::now() - started_at).num_seconds().unsigned_abs(),
            purchases: 0,
            events: 0,
            faults: outcomes.iter().map(|outcome| outcome.injected).sum(),
            rows: kinds.into_iter().map(|(kind, outcomes)| Row::of(kind, &outcomes)).collect(),
            findings: outcomes.iter().flat_map(of_round).chain(at_end.into_iter().map(|found| (None, found))).collect(),
        }
    }

    /// Nothing was found, and everything healed in time.
    pub fn is_good(&self) -> bool {
        self.findings.is_empty() && self.rows.iter().all(|row| row.healed == row.rounds)
    }

    /// Kinds of which no fault had an effect.
    pub fn without_effect(&self) -> Vec<&str> {
        self.rows.iter().filter(|row| row.faults == 0).map(|row| row.kind.as_str()).collect()
    }

    /// Returns the path of the files without their extensions.
    pub fn save(&self, folder: &Path, name: &str) -> Result<String> {
        let name = folder.join(name);
        for (ending, text) in [("json", serde_json::to_string_pretty(self)? + "\n"), ("md", self.page())] {
            let file = name.with_extension(ending);
            fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
        }
        Ok(name.display().to_string())
    }

    pub fn page(&self) -> String {
        let Self { command, faults, purchases, events, took_s, .. } = self;
        let mut page = format!(
            "# Torture of {}\n\n`{command}`: {faults} faults in {took_s} s; {purchases} acknowledged \
             purchases in a log of {events} events.\n\nTimes in seconds: median / worst.\n\n\
             | kind | n | no effect | lost | doubled | wrong | improper | tolerated | silent | no purchases | no totals | healed | healed after |\n\
             |---|---|---|---|---|---|---|---|---|---|---|---|---|\n",
            self.started_at.format("%Y-%m-%d %H:%M UTC"),
        );
        for row in &self.rows {
            let spread = |spread: Spread| format!("{:.1} / {:.1}", spread.median, spread.worst);
            let _ = writeln!(
                page,
                "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} of {} | {} |",
                row.kind,
                row.faults,
                row.without_effect,
                row.lost,
                row.doubled,
                row.wrong,
                row.improper,
                row.tolerated,
                row.silent,
                spread(row.no_purchases_s),
                spread(row.no_totals_s),
                row.healed,
                row.rounds,
                spread(row.healed_after_s),
            );
        }
        if !self.findings.is_empty() {
            page.push_str("\nFindings:\n\n");
        }
        for (round, Finding { harm, what }) in &self.findings {
            let when = round.map_or_else(|| "at the end".to_owned(), |round| format!("round {round}"));
            let _ = writeln!(page, "- {when}, {harm:?}: {what}");
        }
        page
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::torture::plan::Fault;

    #[test]
    fn a_run_is_good_if_nothing_is_found_and_everything_heals_in_time() {
        let fault = Fault { kind: "kill-web".to_owned(), at_ms: 0, lasts_ms: 0, pick: 0 };
        let outcome = |faults, in_time, findings: &[Finding]| Outcome {
            round: Round { number: 7, faults: vec![fault.clone(); faults] },
            injected: faults,
            period: Period {
                findings: findings.to_vec(),
                tolerated: 0,
                no_purchases: Duration::from_secs(2),
                no_totals: Duration::ZERO,
            },
            healed: Ok(Duration::from_secs(1)),
            in_time,
        };
        let report = |outcomes: &[Outcome]| Report::new(1, Utc::now(), outcomes, Vec::new());
        let good = report(&[outcome(1, true, &[]), outcome(3, true, &[])]);
        assert!(good.is_good());
        assert_eq!(good.faults, 4);
        assert_eq!(good.rows.iter().map(|row| row.kind.as_str()).collect::<Vec<_>>(), ["kill-web", "storm"]);
        assert!(!report(&[outcome(1, false, &[])]).is_good());
        assert!(good.without_effect().is_empty());
        assert_eq!(report(&[outcome(0, true, &[])]).without_effect(), ["storm"]);
        let lost = Finding { harm: Harm::Lost, what: "a purchase".to_owned() };
        let bad = report(&[outcome(1, true, std::slice::from_ref(&lost))]);
        assert!(!bad.is_good() && bad.rows[0].lost == 1);
        assert!(bad.page().contains("round 7, Lost: a purchase"));
        assert!(!Report::new(1, Utc::now(), &[], vec![lost]).is_good());
    }
}
