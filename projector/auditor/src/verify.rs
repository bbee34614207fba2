//! Verifies a log: in order, without a gap, canonically encoded, countable, and matching the tree of each checkpoint.

use chrono::{DateTime, Utc};
use contract::position::Position;
use futures::TryStreamExt;
use serde::Serialize;

pub use crate::reading::Fault;
use crate::{
    checkpoint::{Checkpoints, TWO_HISTORIES},
    evidence::{Evidence, Restore, Signed},
    examine::{Wanted, examined},
    locate::{Place, first_difference},
    outcome::Outcome,
    peaks::Peaks,
    progress::Progress,
    reading::{Contradiction, Reading},
    recorded::Recorded,
    source::Source,
    uncounted::{Decision, Newer},
};

/// Result of a verification.
#[derive(Debug, Serialize)]
pub struct Verdict {
    /// Position of the checkpoint after which it began.
    pub since: Position,
    /// Position of the last event read.
    pub events: Position,
    /// The root of the tree over them, in base64.
    pub root: String,
    pub last_recorded_at: Option<DateTime<Utc>>,
    /// Positions of the checkpoints that the log matches.
    pub confirmed: Vec<Position>,
    /// Number of events at the end that none of them covers.
    pub uncovered: u64,
    /// What could not be compared, and why.
    pub not_compared: Vec<String>,
    /// Restores that operators have stated.
    pub restores: Vec<Restore>,
    /// How the event store is no longer protected, and rows outside of the log.
    pub unprotected: Vec<String>,
    /// Decisions that events do not count.
    pub decisions: Vec<Decision>,
    /// Events of a newer type, version, licence or currency. Their lines were verified.
    pub newer: Option<Newer>,
    /// The first fault.
    pub fault: Option<Fault>,
    /// The owner of the log signed two histories: which checkpoints prove it.
    pub fork: Option<String>,
    /// The signed notes that prove the fault: one that contradicts the log, or one of each history.
    pub evidence: Vec<String>,
    /// The only fault is an export that ends in the middle of a line, after all checkpoints: no evidence against the log.
    pub is_interrupted: bool,
}

impl Verdict {
    pub fn outcome(&self) -> Outcome {
        if self.fault.is_some() && !self.is_interrupted || !self.unprotected.is_empty() {
            Outcome::Wrong
        } else if self.is_interrupted || !self.not_compared.is_empty() {
            Outcome::Unknown
        } else if self.restores.iter().any(|restore| !restore.given_up.is_empty()) {
            Outcome::Restored
        } else if self.newer.is_some() {
            Outcome::Newer
        } else {
            Outcome::Right
        }
    }

    /// The newest checkpoint of a log that does not extend an older one.
    pub fn rewritten(evidence: Evidence, older: &Signed, newest: &Signed) -> Self {
        let (position, newer) = (older.checkpoint.position, newest.checkpoint.position);
        let fault = if newer < position {
            let what = format!("the log was signed up to position {position}, and now ends with {newer}");
            Fault { position: newer.next(), until: position, what }
        } else {
            let what = format!("what was signed up to position {position} is not the beginning of what is signed now");
            Fault { position: Position::START.next(), until: position, what }
        };
        Self {
            since: position,
            events: position,
            root: older.checkpoint.root.to_string(),
            last_recorded_at: None,
            confirmed: Vec::new(),
            uncovered: 0,
            not_compared: evidence.not_compared,
            restores: Vec::new(),
            unprotected: Vec::new(),
            decisions: Vec::new(),
            newer: None,
            fault: Some(fault),
            fork: (newer == position).then(|| {
                format!("{TWO_HISTORIES}: there are two checkpoints for position {newer}, with different roots")
            }),
            evidence: vec![older.note.clone(), newest.note.clone()],
            is_interrupted: false,
        }
    }
}

/// Reads a log and compares it with checkpoints whose signatures are already verified: from the beginning, or from the tree of a
/// verified part. Neither a failure of a database nor the end of a connection hides a fault that is already found.
pub async fn verify(
    source: &Source,
    until: Option<Position>,
    evidence: Evidence,
    start: Peaks,
    tree: Option<&Checkpoints>,
) -> anyhow::Result<Verdict> {
    let Evidence { signed, mut not_compared, .. } = evidence;
    let mut reading = Reading::new(start, signed);
    let mut recorded = match tree {
        Some(Checkpoints::ReadModel(pool)) if reading.last == Position::START => Some(Recorded::new(pool.clone())),
        _ => None,
    };
    let wanted = Wanted { hashes: true, meanings: true, lines: false };
    let mut shares = examined(source, reading.last, until, wanted);
    let mut progress = Progress::start("verifying", source, reading.last, until).await;
    let mut is_complete = true;
    if reading.last > Position::START {
        reading.expect_last(source).await?;
    }
    while !reading.is_over {
        let share = match shares.try_next().await {
            Ok(Some(share)) => share,
            Ok(None) => break,
            Err(error) => {
                not_compared.push(format!("the events after position {}: {error:#}", reading.last));
                is_complete = false;
                break;
            }
        };
        progress.advance(&share);
        reading.take(&share);
        compare(&mut recorded, reading.tiles.drain(..), &mut not_compared).await;
        reading.tiles.clear();
    }
    drop(progress);
    let last_tile = reading.rest_of_tiles();
    compare(&mut recorded, [last_tile].into_iter(), &mut not_compared).await;
    if !reading.is_over
        && let Err(error) = reading.uncounted.look_ahead(source, reading.last).await
    {
        not_compared.push(format!("decisions after position {}: {error:#}", reading.last));
    }
    let conclusion = Conclusion { reading, source, tree, is_complete, not_compared };
    Ok(conclusion.verdict(recorded.and_then(|recorded| recorded.first_difference)).await)
}

async fn compare(
    recorded: &mut Option<Recorded>,
    tiles: impl Iterator<Item = crate::recorded::Leaves>,
    not_compared: &mut Vec<String>,
) {
    let Some(hashes) = recorded else { return };
    for tile in tiles {
        if let Err(error) = hashes.compare(&tile).await {
            not_compared.push(format!("the recorded hashes of the events: {error}"));
            *recorded = None;
            return;
        }
    }
}

/// What follows from the events that were read.
pub struct Conclusion<'a> {
    pub reading: Reading,
    pub source: &'a Source,
    pub tree: Option<&'a Checkpoints>,
    /// The source was read to its end, or to a fault.
    pub is_complete: bool,
    pub not_compared: Vec<String>,
}

impl Conclusion<'_> {
    pub async fn verdict(mut self, recorded_difference: Option<Position>) -> Verdict {
        let from_checkpoints = self.compare_with_signed().await;
        let reading = &mut self.reading;
        let has_signed = reading.contradicted.is_some() || reading.reached < reading.signed.len();
        if let Some((position, what)) = reading.uncounted.first_invalid()
            && reading.fault.as_ref().is_none_or(|fault| position < fault.position)
        {
            reading.fault = Some(Fault::at(position, what));
            reading.is_torn = false;
        }
        let covered = reading.confirmed.last().copied().unwrap_or(reading.trees[0].position());
        let is_interrupted = reading.is_torn && reading.reached == reading.signed.len() && from_checkpoints.is_none();
        let beyond = || recorded_difference.map(|position| beyond_checkpoints(position, covered));
        let fault = match (reading.fault.take(), from_checkpoints) {
            (Some(fault), Some(other)) => Some(combine(fault, other)),
            (fault, other) => fault.or(other),
        };
        let newer = reading.uncounted.newer(reading.newer.take());
        let fault =
            if has_signed { fault } else { fault.into_iter().chain(beyond()).min_by_key(|fault| fault.position) };
        let (evidence, fork) = fault.as_ref().map(|_| evidence(reading)).unwrap_or_default();
        Verdict {
            since: reading.trees[0].position(),
            events: reading.last,
            root: reading.tree.root().to_string(),
            last_recorded_at: reading.last_time,
            uncovered: reading.last.as_sequence() - covered.as_sequence(),
            confirmed: std::mem::take(&mut reading.confirmed),
            not_compared: self.not_compared,
            restores: Vec::new(),
            unprotected: Vec::new(),
            decisions: std::mem::take(&mut reading.uncounted.decisions),
            newer,
            fork,
            evidence,
            fault,
            is_interrupted,
        }
    }

    /// The fault that checkpoints show, as precisely as the stored tree proves it.
    async fn compare_with_signed(&mut self) -> Option<Fault> {
        let reading = &self.reading;
        let ends_early = self.is_complete && reading.fault.is_none();
        // A log that ends early lacks all up to the newest one.
        let unreached =
            if ends_early { reading.signed[reading.reached..].last() } else { reading.signed.get(reading.reached) };
        let (signed, end) = match (&reading.contradicted, unreached) {
            (Some(Contradiction { signed, tree }), _) => (&signed.checkpoint, tree),
            (None, Some(signed)) if ends_early || reading.fault.is_some() => (&signed.checkpoint, &reading.tree),
            _ => return None,
        };
        let ends_early =
            ends_early && reading.signed.last().is_some_and(|newest| newest.checkpoint.position > reading.last);
        let confirmed = reading.confirmed.iter().rfind(|confirmed| **confirmed < signed.position).copied();
        let confirmed = confirmed.unwrap_or(reading.trees[0].position());
        let mut place = None;
        if let Some(tree) = self.tree {
            let found = first_difference(self.source, tree, signed, confirmed, &reading.trees, end).await;
            match found {
                Ok(found) => place = Some(found),
                Err(error) => self.not_compared.push(format!("the log with the stored tree: {error:#}")),
            }
        }
        let reading = &self.reading;
        let missing = signed.position.get() - reading.last.get();
        let is_missing = if missing == 1 { "event is missing" } else { "events are missing" };
        let ends =
            format!("the log ends with position {}, and a checkpoint for {} was signed", reading.last, signed.position);
        let what = if reading.contradicted.is_some() {
            format!(
                "up to position {} the log is not the one that was signed, for the root {} instead of {}",
                signed.position,
                signed.root,
                end.root()
            )
        } else if ends_early {
            format!("{missing} {is_missing} ({ends})")
        } else {
            format!("up to position {} the log is not the one that was signed", signed.position)
        };
        let (first, last) = match place {
            Some(Place::Nowhere) if ends_early => {
                let what = if missing == 1 { "it is missing" } else { "they are missing" };
                let position = reading.last.next();
                return Some(Fault { position, until: signed.position, what: format!("{what}: {ends}") });
            }
            Some(Place::Nowhere) => return None,
            Some(Place::Within(first, last)) => (first.max(confirmed), last),
            None => (confirmed, end.position()),
        };
        if first.next() == last {
            let what = if ends_early {
                format!(
                    "it is not the event that was signed, as if events were removed and the later ones renumbered: {what}"
                )
            } else {
                format!("it is not the event that was signed: {what}")
            };
            return Some(Fault::at(last, what));
        }
        if reading.contradicted.is_some() {
            let what = format!("one of these events is not the one that was signed: {what}");
            return Some(Fault { position: first.next(), until: last, what });
        }
        ends_early.then(|| {
            let unknown = "nothing shows whether the last ones were removed, or others and the later ones renumbered";
            Fault { position: first.next(), until: signed.position, what: format!("{what}; {unknown}") }
        })
    }
}

/// Two faults: the first one, or what is known about it.
fn combine(fault: Fault, other: Fault) -> Fault {
    let is_same = fault.position <= other.until && other.position <= fault.until;
    if !is_same {
        return if fault.position < other.position { fault } else { other };
    }
    let width = |fault: &Fault| fault.until.get() - fault.position.get();
    let narrower = if width(&other) < width(&fault) { &other } else { &fault };
    let what = format!("{}; {}", fault.what, other.what);
    Fault { position: narrower.position, until: narrower.until, what }
}

/// Hashes that differ although the log matches every checkpoint: after the last checkpoint, nothing shows which is right.
fn beyond_checkpoints(changed: Position, confirmed: Position) -> Fault {
    Fault::at(
        changed,
        if changed <= confirmed {
            "the event is as it was signed, but its hash in the transparency log was changed"
        } else {
            "it is not the event whose hash the transparency log recorded, and no checkpoint shows which of them was changed"
        },
    )
}

/// The note that contradicts the log, and one that the log matches although it covers as much: then both were signed, and no log can
/// have both. Two different notes for one position are such a pair, too.
fn evidence(reading: &Reading) -> (Vec<String>, Option<String>) {
    let signed = &reading.signed;
    let of_one_position = signed.windows(2).find(|pair| {
        let [first, second] = [&pair[0].checkpoint, &pair[1].checkpoint];
        first.position == second.position && first.root != second.root
    });
    let contradicting = reading.contradicted.as_ref().map(|contradiction| &contradiction.signed);
    let is_confirmed = |signed: &&Signed| reading.confirmed.binary_search(&signed.checkpoint.position).is_ok();
    let other = contradicting.and_then(|first| {
        let covers_as_much = |other: &&Signed| other.checkpoint.position >= first.checkpoint.position;
        signed.iter().rev().take_while(covers_as_much).find(is_confirmed)
    });
    let of_one_position = of_one_position.map(|pair| (&pair[0], &pair[1]));
    let Some((first, second)) = of_one_position.or(contradicting.zip(other)) else {
        let first = contradicting.or(signed.get(reading.reached));
        return (first.map(|first| first.note.clone()).into_iter().collect(), None);
    };
    let positions = (first.checkpoint.position, second.checkpoint.position);
    let fork = if positions.0 == positions.1 {
        format!("{TWO_HISTORIES}: there are two checkpoints for position {}, with different roots", positions.0)
    } else {
        format!(
            "{TWO_HISTORIES}: no log has both the checkpoint for position {} and that for {}",
            positions.0, positions.1
        )
    };
    (vec![first.note.clone(), second.note.clone()], Some(fork))
}
