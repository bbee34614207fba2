//! The parts of a test run, with the time that each takes.

use std::panic;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};

use crate::progress::{print, report, seconds};

/// The exit code of trials that have no Docker engine.
const NOT_RUN: i32 = 3;

struct Section {
    name: &'static str,
    took: Duration,
    outcome: Outcome,
}

impl Section {
    fn run(name: &'static str, run: impl FnOnce() -> Result<Outcome>) -> Self {
        print(format_args!("\n== {name}"));
        let started = Instant::now();
        let outcome = run().unwrap_or_else(|error| {
            report(format_args!("error in {name}: {error:#}"));
            Outcome::Failed
        });
        Self { name, took: started.elapsed(), outcome }
    }
}

#[derive(PartialEq, Eq)]
enum Outcome {
    Passed,
    Failed,
    NotRun,
}

pub struct Sections {
    sections: Vec<Section>,
    started: Instant,
}

impl Sections {
    pub fn start() -> Self {
        Self { sections: Vec::new(), started: Instant::now() }
    }

    pub fn run(&mut self, name: &'static str, run: impl FnOnce() -> Result<()>) {
        self.add(name, || run().map(|()| Outcome::Passed));
    }

    /// Runs a section that the others depend on; false if it failed.
    pub fn required(&mut self, name: &'static str, run: impl FnOnce() -> Result<()>) -> bool {
        self.run(name, run);
        self.sections.last().is_some_and(|section| section.outcome == Outcome::Passed)
    }

    /// Runs a section whose exit code reports whether this machine can run it.
    pub fn run_where_possible(&mut self, name: &'static str, run: impl FnOnce() -> Result<i32>) {
        self.add(name, || match run()? {
            0 => Ok(Outcome::Passed),
            NOT_RUN => Ok(Outcome::NotRun),
            code => bail!("exit code {code}"),
        });
    }

    /// Runs another section alongside `run`. It has to be quiet unless it fails.
    pub fn run_alongside(
        &mut self,
        run: impl FnOnce(&mut Self),
        name: &'static str,
        other: impl FnOnce() -> Result<()> + Send,
    ) {
        thread::scope(|scope| {
            let other = scope.spawn(|| Section::run(name, || other().map(|()| Outcome::Passed)));
            run(self);
            self.sections.push(other.join().unwrap_or_else(|payload| panic::resume_unwind(payload)));
        });
    }

    fn add(&mut self, name: &'static str, run: impl FnOnce() -> Result<Outcome>) {
        self.sections.push(Section::run(name, run));
    }

    pub fn all_ran(&self) -> bool {
        self.sections.iter().all(|section| section.outcome != Outcome::NotRun)
    }

    /// Prints the outcome and time of each section; an error names those that failed.
    pub fn summary(&self) -> Result<()> {
        print("");
        for Section { name, took, outcome } in &self.sections {
            let outcome = match outcome {
                Outcome::Passed => "passed",
                Outcome::Failed => "FAILED",
                Outcome::NotRun => "not run: see above",
            };
            print(format_args!("{name:<24}{:>10}  {outcome}", seconds(*took)));
        }
        print(format_args!("{:<24}{:>10}", "total", seconds(self.started.elapsed())));
        let failed = self.sections.iter().filter(|section| section.outcome == Outcome::Failed);
        let failed: Vec<_> = failed.map(|section| section.name).collect();
        ensure!(failed.is_empty(), "failed: {}", failed.join(", "));
        Ok(())
    }
}
