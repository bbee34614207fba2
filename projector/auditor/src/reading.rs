//! Reads events in order: positions, times, sums, and the Merkle tree at each checkpoint.

use chrono::{DateTime, Utc};
use contract::{event::Event, money::OutOfRange, position::Position, totals::Totals};
use event_log::transparency::merkle::{Hash, TILE_WIDTH};
use serde::Serialize;

use crate::{
    evidence::Signed,
    examine::{self, Examined, Meaning, Share},
    locate::leaves,
    peaks::Peaks,
    recorded::Leaves,
    source::Source,
    uncounted::{Newer, Uncounted},
};

/// A fault in a log.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Fault {
    /// The first changed or missing event. If it is only known to be one of several: the first of them …
    pub position: Position,
    /// … and the last of them.
    pub until: Position,
    pub what: String,
}

impl Fault {
    pub fn at(position: Position, what: impl Into<String>) -> Self {
        Self { position, until: position, what: what.into() }
    }
}

/// The first checkpoint that the log contradicts, and the tree that it has instead.
pub struct Contradiction {
    pub signed: Signed,
    pub tree: Peaks,
}

/// The sums that a projector forms. An event that does not fit into them halts it.
#[derive(Default)]
struct Counted {
    /// Since the last reset.
    totals: Totals,
    /// In the quarter of an hour of the last event, the longest interval of the history.
    quarter: Totals,
    quarter_number: i64,
}

impl Counted {
    fn add(&mut self, time: DateTime<Utc>, event: &Event) -> Result<(), OutOfRange> {
        const QUARTER_S: i64 = 15 * 60;
        self.totals.apply(event)?;
        let number = time.timestamp().div_euclid(QUARTER_S);
        if number != self.quarter_number {
            (self.quarter, self.quarter_number) = (Totals::default(), number);
        }
        match event {
            Event::LicensePurchased(_) => self.quarter.apply(event),
            Event::SalesReset(_) | Event::EventVoided(_) => Ok(()),
        }
    }
}

/// The state after the last event.
#[derive(Default)]
pub struct Reading {
    pub tree: Peaks,
    /// Trees at the ends of batches, the first one at the beginning.
    pub trees: Vec<Peaks>,
    pub last: Position,
    pub last_time: Option<DateTime<Utc>>,
    pub last_leaf: Option<Hash>,
    time_before: Option<DateTime<Utc>>,
    counted: Counted,
    pub uncounted: Uncounted,
    pub newer: Option<Newer>,
    /// Full tiles since they were last taken, if the reading starts with the first event.
    pub tiles: Vec<Leaves>,
    tile: Vec<Hash>,
    keeps_tiles: bool,
    /// In the order of their positions.
    pub signed: Vec<Signed>,
    pub reached: usize,
    pub confirmed: Vec<Position>,
    pub contradicted: Option<Contradiction>,
    /// The first fault.
    pub fault: Option<Fault>,
    /// The fault is half a line at the end of a file.
    pub is_torn: bool,
    /// What follows is not the next event.
    pub is_over: bool,
}

impl Reading {
    /// Continues after the tree of an earlier part of the log.
    pub fn new(start: Peaks, mut signed: Vec<Signed>) -> Self {
        signed.sort_by_key(|signed| signed.checkpoint.position);
        let last = start.position();
        signed.retain(|signed| signed.checkpoint.position >= last);
        let (trees, keeps_tiles) = (vec![start.clone()], last == Position::START);
        let mut reading = Self { tree: start, trees, last, signed, keeps_tiles, ..Self::default() };
        reading.compare_with_checkpoints();
        reading
    }

    /// Compares with one more checkpoint, unless it is older than what was read.
    pub fn expect(&mut self, signed: Signed) {
        if signed.checkpoint.position >= self.last {
            self.signed.push(signed);
            self.signed[self.reached..].sort_by_key(|signed| signed.checkpoint.position);
            self.compare_with_checkpoints();
        }
    }

    pub fn is_right(&self) -> bool {
        self.fault.is_none() && self.contradicted.is_none()
    }

    /// A log that is read after a position must have the event at this position.
    pub async fn expect_last(&mut self, source: &Source) -> anyhow::Result<()> {
        let before = Position::from_sequence(self.last.as_sequence() - 1);
        if !leaves(source, before, self.last).await?.is_empty() {
            return Ok(());
        }
        let end = source.end().await?.unwrap_or(before);
        let what = format!("the log ends before position {}, up to which it was signed", self.last);
        self.stop(Fault { position: end.next().min(self.last), until: self.last, what });
        Ok(())
    }

    pub fn take(&mut self, share: &Share) {
        for event in &share.events {
            self.add(event);
            if self.is_over {
                return;
            }
        }
        self.trees.push(self.tree.clone());
        if let Some(examine::Fault { position, what, is_torn }) = &share.fault {
            self.is_torn = *is_torn && self.fault.is_none();
            self.stop(Fault::at(position.unwrap_or(self.last.next()), what));
        }
    }

    /// The leaves after the last full tile.
    pub fn rest_of_tiles(&mut self) -> Leaves {
        Leaves { index: self.last.get() / 256, hashes: std::mem::take(&mut self.tile), root: None }
    }

    fn note(&mut self, fault: Fault) {
        self.fault.get_or_insert(fault);
    }

    fn stop(&mut self, fault: Fault) {
        self.note(fault);
        self.is_over = true;
    }

    fn add(&mut self, event: &Examined) {
        let expected = self.last.next();
        if event.position > expected {
            let what = format!("it is missing: position {} follows {}", event.position, self.last);
            return self.stop(Fault::at(expected, what));
        }
        if event.position < expected {
            let what = format!("it comes once more, behind position {}", self.last);
            return self.stop(Fault::at(event.position, what));
        }
        self.check_time(expected, event.time);
        self.last = expected;
        self.push(event.hash);
        self.compare_with_checkpoints();
        match &event.meaning {
            None => (),
            Some(Ok(meaning)) => self.count(event.time, meaning),
            Some(Err(Meaning::Newer(what))) => {
                let first = || Newer { position: expected, what: what.clone(), events: 0 };
                self.newer.get_or_insert_with(first).events += 1;
            }
            Some(Err(Meaning::Invalid { what, may_be_newer })) => self.leave_out(expected, what, *may_be_newer),
        }
    }

    /// If the times of two neighbours are in the wrong order, either may have been changed, unless the later one is also before the
    /// event before both.
    fn check_time(&mut self, position: Position, time: DateTime<Utc>) {
        if let Some(before) = self.last_time.filter(|before| time < *before) {
            let first = if self.time_before.is_some_and(|earliest| time < earliest) { position } else { self.last };
            let what = format!("the time of position {position}, {time}, is before that of {}, {before}", self.last);
            self.note(Fault { position: first, until: position, what });
        }
        self.time_before = self.last_time.replace(time);
    }

    fn push(&mut self, leaf: Hash) {
        self.last_leaf = Some(leaf);
        let mut root = None;
        self.tree.push(leaf, |leaves, hash| {
            if leaves == TILE_WIDTH as u64 {
                root = Some(hash);
            }
        });
        if self.keeps_tiles {
            self.tile.push(leaf);
            if root.is_some() {
                let index = (self.last.get() - 1) / 256;
                self.tiles.push(Leaves { index, hashes: std::mem::take(&mut self.tile), root });
            }
        }
    }

    fn count(&mut self, time: DateTime<Utc>, event: &Event) {
        if let Event::EventVoided(decision) = event {
            let start = self.trees[0].position();
            self.uncounted.decide(self.last, decision, start);
        }
        if let Err(error) = self.counted.add(time, event) {
            self.note(Fault::at(self.last, format!("it cannot be counted: {error}")));
        }
    }

    fn leave_out(&mut self, position: Position, what: &str, may_be_newer: bool) {
        if self.uncounted.add(position, what, may_be_newer).is_none() {
            self.stop(Fault::at(position, "too many events cannot be counted"));
        }
    }

    fn compare_with_checkpoints(&mut self) {
        while let Some(next) = self.signed.get(self.reached).filter(|next| next.checkpoint.position <= self.last) {
            if next.checkpoint.root == self.tree.root() {
                self.confirmed.push(next.checkpoint.position);
            } else if self.contradicted.is_none() {
                self.contradicted = Some(Contradiction { signed: next.clone(), tree: self.tree.clone() });
            }
            self.reached += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use contract::{
        catalogue::License,
        event::{LicensePurchased, SalesReset},
        money::Money,
    };

    use super::*;

    #[test]
    fn a_sum_that_is_out_of_range_for_the_totals_or_the_history_is_an_error() {
        let purchase =
            |cents| Event::LicensePurchased(LicensePurchased { license: License::Pro, price: Money::eur(cents) });
        let (most, one) = (purchase(i64::MAX), purchase(1));
        let reset = Event::SalesReset(SalesReset { reason: None });
        let add_up = |events: &[(i64, &Event)]| {
            let mut counted = Counted::default();
            events.iter().try_for_each(|(s, event)| counted.add(DateTime::UNIX_EPOCH + TimeDelta::seconds(*s), event))
        };
        assert!(add_up(&[(0, &most), (900, &one)]).is_err());
        // Within the range of the totals, but not of the history.
        assert!(add_up(&[(0, &most), (0, &reset), (899, &one)]).is_err());
        assert!(add_up(&[(899, &most), (899, &reset), (900, &one)]).is_ok());
    }
}
