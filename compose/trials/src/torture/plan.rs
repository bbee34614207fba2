//! Which faults are injected when. A seed determines the plan, and a journal repeats it.

use std::ops::RangeInclusive;

use rand::rngs::Xoshiro256PlusPlus;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};

use crate::torture::kinds::Kind;

/// Each of so many rounds is a storm.
const STORM_EVERY: u32 = 3;
const STORM_FAULTS: usize = 3;
/// Faults begin within this time after the beginning of the round.
const BEGINS_WITHIN_MS: u64 = 400;
/// Most faults are short: many moments are tried. Some exceed the timeouts of the services.
const LASTS_MS: RangeInclusive<u64> = 100..=1000;
const LASTS_LONG_MS: RangeInclusive<u64> = 1000..=5000;
const LONG: f64 = 0.2;
/// A shorter fault need not raise its alarm.
pub const NOTICED_AFTER_MS: u64 = 2500;
const LASTS_WITH_ALARM_MS: RangeInclusive<u64> = NOTICED_AFTER_MS..=5000;
const LONG_WITH_ALARM: f64 = 0.8;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    pub kind: String,
    /// After the beginning of the round.
    pub at_ms: u64,
    /// For faults that last.
    pub lasts_ms: u64,
    /// Selects the process, the direction, the number of bytes or the message.
    pub pick: u64,
}

/// Faults at once, after which the system has to heal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Round {
    pub number: u32,
    pub faults: Vec<Fault>,
}

impl Round {
    /// The row of the report that it counts in.
    pub fn title(&self) -> &str {
        match &self.faults[..] {
            [fault] => &fault.kind,
            _ => "storm",
        }
    }
}

/// What `pick` selects of so many.
pub fn index(pick: u64, count: usize) -> usize {
    let count = u64::try_from(count.max(1)).unwrap_or(1);
    usize::try_from(pick % count).unwrap_or_default()
}

/// Endless rounds. Each kind occurs once before any occurs again.
#[derive(Debug)]
pub struct Plan {
    random: Xoshiro256PlusPlus,
    kinds: Vec<Kind>,
    /// Kinds that have not occurred yet in this pass.
    deck: Vec<Kind>,
    number: u32,
}

impl Plan {
    pub fn new(seed: u64, kinds: &[Kind]) -> Self {
        let random = Xoshiro256PlusPlus::seed_from_u64(seed);
        Self { random, kinds: kinds.to_vec(), deck: Vec::new(), number: 0 }
    }

    fn fault(&mut self) -> Option<Fault> {
        if self.deck.is_empty() {
            self.deck.clone_from(&self.kinds);
            self.deck.shuffle(&mut self.random);
        }
        let kind = self.deck.pop()?;
        let (long, lasts_long_ms) =
            if kind.raises_alarm() { (LONG_WITH_ALARM, LASTS_WITH_ALARM_MS) } else { (LONG, LASTS_LONG_MS) };
        let lasts_ms = if self.random.random_bool(long) { lasts_long_ms } else { LASTS_MS };
        Some(Fault {
            kind: kind.name,
            at_ms: self.random.random_range(0..BEGINS_WITHIN_MS),
            lasts_ms: self.random.random_range(lasts_ms),
            pick: self.random.random(),
        })
    }
}

impl Iterator for Plan {
    type Item = Round;

    fn next(&mut self) -> Option<Round> {
        self.number += 1;
        let count = if self.number.is_multiple_of(STORM_EVERY) { STORM_FAULTS } else { 1 };
        let faults: Vec<Fault> = (0..count).filter_map(|_| self.fault()).collect();
        (!faults.is_empty()).then_some(Round { number: self.number, faults })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::torture::on::On;

    #[test]
    fn a_seed_determines_the_plan_and_each_kind_occurs_in_every_pass() {
        let kinds = Kind::all(On::Native);
        let rounds = |seed| Plan::new(seed, &kinds).take(kinds.len()).collect::<Vec<_>>();
        let first = rounds(17);
        assert_eq!(first, rounds(17));
        assert_ne!(first, rounds(18));
        let faults: Vec<&Fault> = first.iter().flat_map(|round| &round.faults).collect();
        let names: BTreeSet<&str> = faults.iter().take(kinds.len()).map(|fault| fault.kind.as_str()).collect();
        assert_eq!(names.len(), kinds.len(), "no kind occurs twice in the first pass");
        assert!(first.iter().any(|round| round.title() == "storm" && round.faults.len() == STORM_FAULTS));
    }

    #[test]
    fn a_plan_of_one_kind_has_no_other() {
        let kind = Kind::named("kill-postgres").unwrap();
        let rounds: Vec<Round> = Plan::new(1, &[kind]).take(8).collect();
        assert!(rounds.iter().flat_map(|round| &round.faults).all(|fault| fault.kind == "kill-postgres"));
        assert_eq!(Plan::new(1, &[]).next(), None);
        assert!(Kind::named("boredom").is_err());
    }
}
