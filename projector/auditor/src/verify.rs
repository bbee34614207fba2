//! Verifies a log: in order, without a gap, canonically encoded, countable, and matching the tree of each checkpoint.

use chrono::{DateTime, Utc};
use contract::{event::Event, money::OutOfRange, position::Position, totals::Totals};
use event_log::transparency::{
    merkle::{Hash, Tree},
    signed_checkpoint::Checkpoint,
};
use futures::TryStreamExt;
use serde::Serialize;

use crate::{
    examine::{self, Examined, Share, Wanted, examined},
    progress::Progress,
    recorded::Recorded,
    source::Source,
    uncounted::{Decision, Uncounted},
};

/// Result of a verification.
#[derive(Debug, Serialize)]
pub struct Verdict {
    /// Number of events read.
    pub events: Position,
    /// The root of the tree over them, in base64.
    pub root: String,
    pub last_recorded_at: Option<DateTime<Utc>>,
    /// Positions of the checkpoints that the log matches.
    pub confirmed: Vec<Position>,
    /// Decisions that events do not count.
    pub decisions: Vec<Decision>,
    /// The first fault.
    pub fault: Option<Fault>,
    /// The only fault is an export that ends in the middle of a line, after all checkpoints: no evidence against the log.
    pub is_interrupted: bool,
}

/// The first fault in a log.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Fault {
    /// The first changed or missing event. If it is only known to be one of several: the first of them …
    pub position: Position,
    /// … and the last of them.
    pub until: Position,
    pub what: String,
}

impl Fault {
    fn at(position: Position, what: impl Into<String>) -> Self {
        Self { position, until: position, what: what.into() }
    }
}

/// Reads the whole log and compares it with checkpoints whose signatures are already verified.
pub async fn verify(
    source: &Source,
    until: Option<Position>,
    mut checkpoints: Vec<Checkpoint>,
    mut recorded: Option<Recorded>,
) -> anyhow::Result<Verdict> {
    checkpoints.sort_by_key(|checkpoint| checkpoint.position);
    let mut reading = Reading { checkpoints, ..Reading::default() };
    let wanted = Wanted { hashes: true, meanings: true, lines: false };
    let mut shares = examined(source, Position::START, until, wanted);
    let mut progress = Progress::start("verifying", source, Position::START, until).await;
    while let Some(share) = shares.try_next().await? {
        progress.advance(&share);
        reading.take(share);
        if let Some(recorded) = &mut recorded {
            for (index, hashes) in reading.full_tiles.drain(..) {
                recorded.compare(index, &hashes).await?;
            }
        }
        if reading.fault.is_some() {
            break;
        }
    }
    drop(progress);
    if reading.fault.is_none() {
        reading.uncounted.look_ahead(source, reading.last).await?;
    }
    if let Some(recorded) = &mut recorded {
        let end = reading.tree.unfinished().find(|(id, _)| id.level == 0);
        if let Some((id, hashes)) = end {
            recorded.compare(id.index, hashes).await?;
        }
    }
    reading.conclude(recorded.as_ref()).await
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

#[derive(Default)]
struct Reading {
    tree: Tree,
    last: Position,
    last_time: Option<DateTime<Utc>>,
    counted: Counted,
    uncounted: Uncounted,
    /// Of level 0, with their index, since they were last compared with what is recorded.
    full_tiles: Vec<(i64, Vec<u8>)>,
    /// In the order of their positions.
    checkpoints: Vec<Checkpoint>,
    reached: usize,
    confirmed: Vec<Position>,
    /// The first checkpoint that the log does not agree with, and the root that it has instead.
    contradicted: Option<(Checkpoint, Hash)>,
    fault: Option<Fault>,
    /// The fault is half a line at the end of a file.
    is_torn: bool,
}

impl Reading {
    fn take(&mut self, share: Share) {
        for event in &share.events {
            if let Err(fault) = self.add(event) {
                self.fault = Some(fault);
                return;
            }
        }
        if let Some(examine::Fault { position, what, is_torn }) = share.fault {
            self.is_torn = is_torn;
            self.fault = Some(Fault::at(position.unwrap_or(self.last.next()), what));
        }
    }

    fn add(&mut self, event: &Examined) -> Result<(), Fault> {
        let expected = self.last.next();
        if event.position > expected {
            let what = format!("it is missing: position {} follows {}", event.position, self.last);
            return Err(Fault::at(expected, what));
        }
        if event.position < expected {
            return Err(Fault::at(event.position, format!("it comes once more, behind position {}", self.last)));
        }
        if let Some(before) = self.last_time.filter(|before| event.time < *before) {
            let what = format!("its time, {}, is before that of the event before it, {before}", event.time);
            return Err(Fault::at(expected, what));
        }
        self.last = expected;
        self.last_time = Some(event.time);
        let full_tiles = &mut self.full_tiles;
        self.tree.push(&event.hash, |id, tile| {
            if id.level == 0 {
                full_tiles.push((id.index, tile));
            }
        });
        self.compare_with_checkpoints();
        let meaning = match &event.event {
            None => return Ok(()),
            Some(Ok(meaning)) => meaning,
            Some(Err(error)) => {
                let added = self.uncounted.add(expected, error);
                return added.ok_or_else(|| Fault::at(expected, "too many events cannot be counted"));
            }
        };
        if let Event::EventVoided(decision) = meaning {
            self.uncounted.decide(expected, decision);
        }
        let counted = self.counted.add(event.time, meaning);
        counted.map_err(|error| Fault::at(expected, format!("it cannot be counted: {error}")))
    }

    fn compare_with_checkpoints(&mut self) {
        while let Some(checkpoint) = self.checkpoints.get(self.reached).filter(|next| next.position <= self.last) {
            let root = self.tree.root();
            if checkpoint.root == root {
                self.confirmed.push(checkpoint.position);
            } else if self.contradicted.is_none() {
                self.contradicted = Some((checkpoint.clone(), root));
            }
            self.reached += 1;
        }
    }

    async fn conclude(mut self, recorded: Option<&Recorded>) -> anyhow::Result<Verdict> {
        if let Some((position, what)) = self.uncounted.first()
            && self.fault.as_ref().is_none_or(|fault| position < fault.position)
        {
            // More precise than a checkpoint that covers it.
            let contradicted = self.contradicted.take_if(|(checkpoint, _)| checkpoint.position >= position);
            let changed = contradicted.map_or_else(String::new, |(checkpoint, _)| {
                format!("; up to position {} the log is not the one that was signed", checkpoint.position)
            });
            self.fault = Some(Fault::at(position, format!("{what}{changed}")));
            self.is_torn = false;
        }
        let from_checkpoints = match self.contradicted.take() {
            Some((checkpoint, root)) => Some(self.locate(&checkpoint, root, recorded).await?),
            None => self.compare_ends().or(self.beyond_checkpoints(recorded)),
        };
        let all_reached = self.reached == self.checkpoints.len();
        let is_interrupted = self.is_torn && all_reached && from_checkpoints.is_none();
        // A malformed event may follow one that was merely changed.
        let faults = from_checkpoints.into_iter().chain(self.fault.take());
        let fault = faults.min_by_key(|fault| fault.position);
        Ok(Verdict {
            events: self.last,
            root: self.tree.root().to_string(),
            last_recorded_at: self.last_time,
            confirmed: self.confirmed,
            decisions: self.uncounted.decisions,
            fault,
            is_interrupted,
        })
    }

    /// Locates the event at which the log contradicts a checkpoint.
    async fn locate(&self, checkpoint: &Checkpoint, root: Hash, recorded: Option<&Recorded>) -> anyhow::Result<Fault> {
        let confirmed = self.confirmed.iter().rfind(|confirmed| **confirmed < checkpoint.position);
        let first = confirmed.copied().unwrap_or_default().next();
        let signed = format!(
            "the checkpoint for position {} was signed for the root {}, and the log has {root}",
            checkpoint.position, checkpoint.root
        );
        if let Some(recorded) = recorded
            && let Some(changed) = recorded.first_change(checkpoint).await?
        {
            return Ok(Fault::at(changed, format!("it is not the event that was signed: {signed}")));
        }
        let what = format!("one of these events is not the one that was signed: {signed}");
        Ok(Fault { position: first, until: checkpoint.position, what })
    }

    /// A log that ends before a checkpoint was truncated.
    fn compare_ends(&self) -> Option<Fault> {
        let checkpoint = self.checkpoints.last().filter(|newest| newest.position > self.last)?;
        if self.fault.is_some() {
            return None; // not read to its end
        }
        let (position, until) = (self.last.next(), checkpoint.position);
        let what = format!(
            "they are missing: the log ends with position {}, and a checkpoint for {until} was signed",
            self.last
        );
        Some(Fault { position, until, what })
    }

    /// Hashes that differ although the log matches every checkpoint: after the last checkpoint, nothing shows which is right.
    fn beyond_checkpoints(&self, recorded: Option<&Recorded>) -> Option<Fault> {
        let changed = recorded?.first_difference()?;
        let confirmed = self.confirmed.last().copied().unwrap_or_default();
        Some(Fault::at(
            changed,
            if changed <= confirmed {
                "the event is as it was signed, but its hash in the transparency log was changed"
            } else {
                "it is not the event whose hash the transparency log recorded, and no checkpoint shows which of them was changed"
            },
        ))
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
