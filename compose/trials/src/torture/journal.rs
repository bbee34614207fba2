//! What happened when, as one line of JSON each. The rounds in it can be repeated.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::torture::plan::Round;

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "entry", rename_all = "snake_case")]
pub enum Entry {
    Run {
        seed: u64,
    },
    Round(Round),
    /// The beginning or end of a fault, or a finding.
    Event {
        what: String,
    },
}

#[derive(Serialize, Deserialize)]
struct Line {
    /// Since the beginning of the run.
    at_ms: u64,
    #[serde(flatten)]
    entry: Entry,
}

#[derive(Debug)]
pub struct Journal {
    file: Mutex<File>,
    started: Instant,
}

impl Journal {
    pub fn create(path: &Path) -> Result<Self> {
        let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self { file: Mutex::new(file), started: Instant::now() })
    }

    pub fn write(&self, entry: Entry) -> Result<()> {
        let at_ms = u64::try_from(self.started.elapsed().as_millis())?;
        let line = Line { at_ms, entry };
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(file.write_all(format!("{}\n", serde_json::to_string(&line)?).as_bytes())?)
    }

    pub fn event(&self, what: impl Into<String>) -> Result<()> {
        self.write(Entry::Event { what: what.into() })
    }

    /// The seed and the rounds of an earlier run.
    pub fn read(path: &Path) -> Result<(u64, Vec<Round>)> {
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let (mut seed, mut rounds) = (None, Vec::new());
        for line in text.lines() {
            let line: Line = serde_json::from_str(line).with_context(|| format!("{} is no journal", path.display()))?;
            match line.entry {
                Entry::Run { seed: found } => seed = Some(found),
                Entry::Round(round) => rounds.push(round),
                Entry::Event { .. } => {}
            }
        }
        Ok((seed.with_context(|| format!("{} has no seed", path.display()))?, rounds))
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::torture::{kinds::Kind, on::On, plan::Plan};

    #[test]
    fn a_journal_gives_back_seed_and_rounds() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("journal.ndjson");
        let journal = Journal::create(&path).unwrap();
        // Too large for a floating-point number.
        let seed = u64::MAX - 1;
        let rounds: Vec<Round> = Plan::new(seed, &Kind::all(On::Native)).take(8).collect();
        journal.write(Entry::Run { seed }).unwrap();
        for round in &rounds {
            journal.write(Entry::Round(round.clone())).unwrap();
            journal.event("healed").unwrap();
        }
        assert_eq!(Journal::read(&path).unwrap(), (seed, rounds));
    }
}
