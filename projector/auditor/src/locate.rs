//! Locates the first event that differs from a signed log, by bisection with consistency proofs. They come from the stored tree,
//! and are verified against the signed root: a proof that was changed as well proves nothing, and ends the search early.

use anyhow::Context;
use contract::position::Position;
use event_log::transparency::{
    merkle::{Hash, check_tree},
    signed_checkpoint::Checkpoint,
};
use futures::TryStreamExt;

use crate::{
    checkpoint::Checkpoints,
    examine::{Wanted, examined},
    peaks::Peaks,
    source::Source,
};

/// Where a log departs from a signed one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Place {
    /// At one of the events after the first position, up to the second one.
    Within(Position, Position),
    /// Not at all: the signed log begins with it.
    Nowhere,
}

/// Searches the events after a position, up to the end of a tree. The signed log is known to begin with the events up to the position.
/// `trees` are some of those in between and at least one before, in ascending order.
pub async fn first_difference(
    source: &Source,
    tree: &Checkpoints,
    signed: &Checkpoint,
    known: Position,
    trees: &[Peaks],
    end: &Peaks,
) -> anyhow::Result<Place> {
    let within = |equal: &Peaks, end: &Peaks| Place::Within(known.max(equal.position()), end.position());
    let equal = trees.iter().rfind(|tree| tree.position() <= known).context("a tree at the beginning")?;
    match agrees(tree, signed, end).await {
        Some(true) => return Ok(Place::Nowhere),
        Some(false) => (),
        None => return Ok(within(equal, end)),
    }
    let (mut equal, mut end) = (equal.clone(), end.clone());
    let is_between = |tree: &&Peaks| tree.size() > equal.size() && tree.size() < end.size();
    let mut trees: Vec<&Peaks> = trees.iter().filter(is_between).collect();
    while !trees.is_empty() {
        let middle = trees.len() / 2;
        match agrees(tree, signed, trees[middle]).await {
            Some(true) => {
                equal = trees[middle].clone();
                trees.drain(..=middle);
            }
            Some(false) => {
                end = trees[middle].clone();
                trees.truncate(middle);
            }
            None => return Ok(within(&equal, &end)),
        }
    }
    let leaves = leaves(source, equal.position(), end.position()).await?;
    // The log was changed meanwhile.
    if leaves.len() as u64 != end.size() - equal.size() {
        return Ok(within(&equal, &end));
    }
    let trees: Vec<Peaks> = leaves
        .into_iter()
        .scan(equal.clone(), |tree, leaf| {
            tree.push(leaf, |_, _| ());
            Some(tree.clone())
        })
        .collect();
    // The place is after the first `low` of these events, and among the first `high`.
    let known = usize::try_from(known.get() - equal.position().get()).unwrap_or(0);
    let (mut low, mut high) = (known, trees.len());
    while high - low > 1 {
        let middle = low.midpoint(high);
        match agrees(tree, signed, &trees[middle - 1]).await {
            Some(true) => low = middle,
            Some(false) => high = middle,
            None => break,
        }
    }
    let position = |events: usize| equal.position().plus(i64::try_from(events).unwrap_or(i64::MAX));
    Ok(Place::Within(position(low), position(high)))
}

/// Whether the signed log begins with a tree. None if no proof shows it.
pub async fn agrees(tree: &Checkpoints, signed: &Checkpoint, ours: &Peaks) -> Option<bool> {
    let (older, size) = (ours.size(), signed.position.as_sequence());
    if older == 0 {
        return Some(true);
    }
    if older == size {
        return Some(ours.root() == signed.root);
    }
    // The proof for a power of two does not contain the older root. That for the next size does.
    let next = older.is_power_of_two() && older > 1 && older + 1 < size;
    let asked = older + u64::from(next);
    let proof = tree.proof(asked, size).await.ok()?;
    if next {
        return Some(Peaks::from_proof(asked, size, signed.root, &proof)?.first()? == ours.root());
    }
    if check_tree(&proof, size, signed.root, older, ours.root()).is_ok() {
        return Some(true);
    }
    // Of a single event, or of all events but one: either it differs, or the proof is wrong.
    if older.is_power_of_two() {
        return Some(false);
    }
    Peaks::from_proof(older, size, signed.root, &proof).map(|_| false)
}

/// The leaf hashes of the events after a position, up to another one.
pub async fn leaves(source: &Source, after: Position, until: Position) -> anyhow::Result<Vec<Hash>> {
    let mut shares = examined(source, after, Some(until), Wanted { hashes: true, ..Wanted::default() });
    let mut leaves = Vec::new();
    while let Some(share) = shares.try_next().await? {
        let wanted = share.events.iter().filter(|event| (after.next()..=until).contains(&event.position));
        leaves.extend(wanted.map(|event| event.hash));
        if share.fault.is_some() || share.events.last().is_some_and(|last| last.position >= until) {
            break;
        }
    }
    Ok(leaves)
}
