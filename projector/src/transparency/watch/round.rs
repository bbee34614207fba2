//! One round of the watch: the tree is built again from the events, in chunks, and compared with each stored tile and with the
//! signed checkpoints.

use std::{collections::HashMap, io, path::PathBuf};

use contract::{cloud_event::CloudEvent, position::Position};
use event_log::{
    ReadError,
    scan::scan,
    transparency::{
        self,
        merkle::{Hash, TILE_WIDTH, TileId, Tree, needed, record_hash},
        signed_checkpoint::{Checkpoint, VerifyingKey},
    },
};
use sqlx::PgPool;
use tokio::task::spawn_blocking;

use crate::transparency::{
    error::TransparencyError,
    file::{self, OpenError},
    notes::{SignedNote, statements},
    store,
};

/// Events per step. Reading and hashing them takes some ten milliseconds.
const CHUNK_EVENTS: i64 = 8192;
/// Checkpoints of the file that are compared in a round, spread evenly. More would locate a change more closely, for one root each.
const MAX_CHECKPOINTS: usize = 500;
const HASH_SIZE: usize = size_of::<Hash>();

/// What differs, and the first position that it concerns.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Difference {
    pub position: Option<Position>,
    pub what: String,
}

/// A difference between a tile and the events below it, and the last of these events.
struct Undecided {
    difference: Difference,
    last: Position,
}

pub enum Outcome {
    Continues,
    /// The whole log was compared.
    Complete,
    /// The log could not be read to the end, or the tree was discarded meanwhile.
    Abandoned,
}

pub struct Round {
    tree: Tree,
    /// Up to here, the tree is that of the stored tiles.
    began_at: Position,
    /// The stored tree had this size when the round began.
    target: Position,
    /// Beyond the tree, in order.
    checkpoints: Vec<Checkpoint>,
    /// Position of the last checkpoint that the log matches.
    confirmed: Position,
    /// A tile differs from the events below it, and no later checkpoint has shown which of them was changed.
    undecided: Option<Undecided>,
    difference: Option<Difference>,
    /// The difference is one of the log, which is graver than one of the tree.
    is_log_changed: bool,
}

impl Round {
    /// Begins at a position that the watch had reached before, or at the start.
    pub async fn begin(
        read_model: &PgPool,
        key: &VerifyingKey,
        file: PathBuf,
        from: Position,
    ) -> Result<Self, TransparencyError> {
        let mut difference = None;
        let mut found = |what| difference = Some(Difference { position: None, what });
        let mut notes = match read_file(file, key.clone()).await? {
            Ok(notes) => notes,
            // The task that signs reports it.
            Err(OpenError::File { .. }) => Vec::new(),
            Err(foreign) => {
                found(foreign.to_string());
                Vec::new()
            }
        };
        let mut snapshot = transparency::snapshot(read_model).await?;
        let (target, note) = transparency::head(&mut *snapshot).await?;
        if let Some(note) = note {
            match SignedNote::open(&note, key) {
                Ok(note) if note.checkpoint().is_some_and(|newest| newest.position == target) => notes.push(note),
                Ok(_) => {
                    found(format!("the read model has another note in place of the checkpoint for position {target}"));
                }
                Err(error) => {
                    found(format!("the read model has something else in place of the newest checkpoint: {error}"));
                }
            }
        }
        let stored = store::notes(&mut *snapshot).await?;
        notes.extend(stored.iter().filter_map(|note| SignedNote::open(note, key).ok()));
        let tiles = transparency::tiles(&mut *snapshot, &needed(from.as_sequence())).await?;
        let tree = Tree::restore(from.as_sequence(), &tiles).ok().filter(|tree| tree.size() <= target.as_sequence());
        let tree = tree.unwrap_or_default();
        let mut checkpoints = binding(&notes, key.origin());
        checkpoints.retain(|checkpoint| checkpoint.position > position_of(&tree) && checkpoint.position <= target);
        Ok(Self {
            confirmed: position_of(&tree),
            began_at: position_of(&tree),
            tree,
            target,
            checkpoints,
            undecided: None,
            difference,
            is_log_changed: false,
        })
    }

    pub fn position(&self) -> Position {
        position_of(&self.tree)
    }

    /// The first difference of the log; otherwise the first one of the tree.
    pub const fn difference(&self) -> Option<&Difference> {
        self.difference.as_ref()
    }

    /// The log differs from the one that was signed.
    pub fn log_changed(&mut self, position: Option<Position>, what: String) {
        if !self.is_log_changed {
            self.difference = Some(Difference { position, what });
            self.is_log_changed = true;
        }
    }

    /// Compares the next chunk.
    pub async fn advance(&mut self, event_store: &PgPool, read_model: &PgPool) -> Result<Outcome, TransparencyError> {
        if let Some((position, what)) = event_log::outside_of_the_log(event_store).await? {
            self.log_changed(position, what);
        }
        let until = self.target.min(self.position().plus(CHUNK_EVENTS));
        let mut chunk = Chunk::default();
        let damage = match self.read(event_store, until, &mut chunk).await {
            Err(error) if !error.is_integrity_violation() => return Err(error.into()),
            outcome => outcome.err(),
        };
        if until == self.target || damage.is_some() {
            chunk.tiles.extend(self.tree.unfinished().map(|(id, tile)| (id, tile.to_vec())));
        }
        // After the events, so that the stored tiles cover them.
        let mut snapshot = transparency::snapshot(read_model).await?;
        if transparency::head(&mut *snapshot).await?.0 < self.target {
            return Ok(Outcome::Abandoned);
        }
        let ids: Vec<_> = chunk.tiles.iter().map(|(id, _)| *id).collect();
        let stored = transparency::tiles(&mut *snapshot, &ids).await?;
        if self.undecided.is_none() {
            self.undecided = first_difference(&chunk.tiles, &stored);
            let found = self.undecided.as_ref().map(|undecided| undecided.difference.clone());
            self.difference = self.difference.take().or(found);
        }
        for (checkpoint, root) in chunk.signed {
            self.compare(&checkpoint, root);
        }
        if let Some(damage) = damage {
            let (position, what) = (damage.position().unwrap_or_else(|| self.position().next()), damage.to_string());
            match self.undecided.take() {
                // An event was inserted or removed before: the later ones have other positions now.
                Some(Undecided { difference, .. }) if difference.position < Some(position) => {
                    self.log_changed(difference.position, format!("{}; {what}", difference.what));
                }
                _ => self.log_changed(Some(position), what),
            }
            return Ok(Outcome::Abandoned);
        }
        Ok(if until < self.target { Outcome::Continues } else { Outcome::Complete })
    }

    /// Adds the events to the tree.
    async fn read(&mut self, event_store: &PgPool, until: Position, chunk: &mut Chunk) -> Result<(), ReadError> {
        let mut events = scan(event_store, self.position(), until).await?;
        while let Some(event) = events.next().await? {
            let line = CloudEvent::try_from(&event)?.to_json();
            self.tree.push(&record_hash(&line), |id, tile| chunk.tiles.push((id, tile)));
            let signed = self.checkpoints.iter().take_while(|checkpoint| checkpoint.position == event.position).count();
            if signed > 0 {
                let root = self.tree.root();
                chunk.signed.extend(self.checkpoints.drain(..signed).map(|checkpoint| (checkpoint, root)));
            }
        }
        Ok(())
    }

    /// A checkpoint shows whether the events up to it are the signed ones.
    fn compare(&mut self, checkpoint: &Checkpoint, root: Hash) {
        let position = checkpoint.position;
        if checkpoint.root != root && self.began_at > Position::START && self.confirmed == self.began_at {
            // The tiles with which the round began were not compared: the next round shows whether they or the events were changed.
            let what = format!(
                "the checkpoint for position {position} was signed for the root {}, and the log, with the tree up to position {}, has {root}",
                checkpoint.root, self.began_at
            );
            self.difference.get_or_insert(Difference { position: None, what });
            self.undecided = None;
            self.checkpoints.clear();
            return;
        }
        if checkpoint.root == root {
            self.confirmed = position;
            let decided = self.undecided.take_if(|undecided| undecided.last <= position);
            if let Some(Undecided { difference, .. }) = decided
                && !self.is_log_changed
                && self.difference.as_ref().is_none_or(|first| first.position >= difference.position)
            {
                let what = format!(
                    "{}; the events are those that were signed for position {position}, so the tree is damaged",
                    difference.what
                );
                self.difference = Some(Difference { what, ..difference });
            }
            return;
        }
        let signed = format!(
            "the checkpoint for position {position} was signed for the root {}, and the log has {root}",
            checkpoint.root
        );
        let first = self.confirmed.next();
        let differing = self.undecided.take_if(|undecided| undecided.difference.position <= Some(position));
        if let Some(Undecided { difference, .. }) = differing {
            self.log_changed(difference.position.max(Some(first)), format!("{}; {signed}", difference.what));
        } else {
            let what = format!("one of the events from position {first} to {position} is not the signed one: {signed}");
            self.log_changed(Some(first), what);
        }
    }
}

/// What follows from some events.
#[derive(Default)]
struct Chunk {
    /// The tiles that they fill; at the end of the round also the partial ones.
    tiles: Vec<(TileId, Vec<u8>)>,
    /// The checkpoints that they reach, and the root that the log has there.
    signed: Vec<(Checkpoint, Hash)>,
}

fn position_of(tree: &Tree) -> Position {
    Position::from_sequence(tree.size())
}

async fn read_file(file: PathBuf, key: VerifyingKey) -> Result<Result<Vec<SignedNote>, OpenError>, TransparencyError> {
    let read = move || file::read(&file, &key);
    Ok(spawn_blocking(read).await.map_err(io::Error::other)?)
}

/// The checkpoints that no restore has given up, in order; evenly spread if there are many.
fn binding(notes: &[SignedNote], origin: &str) -> Vec<Checkpoint> {
    let statements = statements(notes);
    let mut checkpoints: Vec<_> = notes.iter().filter_map(SignedNote::checkpoint).cloned().collect();
    checkpoints.extend(statements.iter().map(|statement| statement.checkpoint(origin)));
    checkpoints.retain(|checkpoint| !statements.iter().any(|statement| statement.gives_up(checkpoint)));
    checkpoints.sort_by_key(|checkpoint| checkpoint.position);
    let step = checkpoints.len().div_ceil(MAX_CHECKPOINTS).max(1);
    let mut spread: Vec<_> = checkpoints.into_iter().rev().step_by(step).collect();
    spread.reverse();
    spread
}

/// The first difference on the lowest level: those above follow from it.
fn first_difference(tiles: &[(TileId, Vec<u8>)], stored: &HashMap<TileId, Vec<u8>>) -> Option<Undecided> {
    let differing =
        tiles.iter().filter_map(|(id, tile)| difference(*id, tile, stored.get(id)).map(|found| (*id, found)));
    differing.min_by_key(|(id, _)| *id).map(|(_, difference)| difference)
}

/// The first hash of a tile that differs from the stored one. A partial tile may have grown since.
fn difference(TileId { level, index }: TileId, tile: &[u8], stored: Option<&Vec<u8>>) -> Option<Undecided> {
    let stored = stored.map_or(&[][..], Vec::as_slice);
    let mut stored_hashes = stored.chunks_exact(HASH_SIZE);
    let place = tile.chunks_exact(HASH_SIZE).position(|hash| stored_hashes.next() != Some(hash))?;
    let place = i64::try_from(place).unwrap_or(i64::MAX);
    let bits = TILE_WIDTH.ilog2();
    let events = 1_i64 << (bits * u32::from(level.cast_unsigned()));
    let first = Position::START.plus(((index << bits) + place) * events).next();
    let last = first.plus(events - 1);
    let what = if stored.is_empty() {
        format!("tile {index} on level {level} of the tree is missing")
    } else if level == 0 {
        format!("the event at position {first} and its hash in the tree differ")
    } else {
        format!("the events from position {first} to {last} and their hash on level {level} of the tree differ")
    };
    Some(Undecided { difference: Difference { position: Some(first), what }, last })
}
