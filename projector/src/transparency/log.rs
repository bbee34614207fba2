//! Grows the Merkle tree over the event log, and signs it.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use chrono::{DateTime, Utc};
use contract::{cloud_event::CloudEvent, position::Position};
use event_log::{
    self, ReadError,
    scan::scan,
    transparency::{
        self,
        merkle::{Hash, Proof, TileId, Tree, record_hash},
        signed_checkpoint::{Checkpoint, SigningKey},
    },
};
use runtime::{
    fail_points::fail_point,
    run_loop::{self, run_loop},
};
use sqlx::PgPool;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::{error::TransparencyError, metrics::Metrics, published::Published, store};

/// Minimum interval between two checkpoints, and about the longest time from a commit to the checkpoint that covers it.
const MIN_BATCH_INTERVAL: Duration = Duration::from_millis(250);
/// Events per checkpoint, at most: their hashes take 1.6 MB.
const CHUNK_EVENTS: i64 = 50_000;
/// Interval between queries for the last checkpoint on NATS, while it is connected and does not respond.
const NATS_POLL_INTERVAL: Duration = Duration::from_secs(2);

/// Grows the tree and signs it.
pub struct TransparencyLog {
    event_store: PgPool,
    read_model: PgPool,
    key: SigningKey,
    published: Published,
    metrics: Metrics,
    /// The tree as it is stored; `None` when another projector may have grown it.
    tree: Option<Tree>,
    /// Published checkpoints beyond the end of the tree, in order: it must pass through them.
    ahead: VecDeque<Checkpoint>,
    /// When to query NATS again; `None` when it has responded since the tree was loaded.
    poll_nats_at: Option<Instant>,
    next_at: Instant,
    /// When the whole log was last known to be signed.
    complete_at: Instant,
}

impl TransparencyLog {
    pub fn new(
        event_store: PgPool,
        read_model: PgPool,
        key: SigningKey,
        published: Published,
        metrics: Metrics,
    ) -> Self {
        let now = Instant::now();
        Self {
            event_store,
            read_model,
            key,
            published,
            metrics,
            tree: None,
            ahead: VecDeque::new(),
            poll_nats_at: None,
            next_at: now,
            complete_at: now,
        }
    }

    /// Runs until the shutdown signal.
    pub async fn run(mut self, stop: CancellationToken) {
        // Concurrent, as signing does not wait for NATS.
        let mut publisher = self.published.publisher();
        tokio::join!(run_loop(&mut self, &stop), run_loop(&mut publisher, &stop));
    }

    /// The stored tree, if it agrees with the published checkpoints.
    async fn load(&mut self) -> Result<Tree, TransparencyError> {
        let newest = self.published.newest().await?;
        // Another projector may grow the tree meanwhile.
        let mut snapshot = transparency::snapshot(&self.read_model).await?;
        let tree = store::load(&mut snapshot).await?;
        if newest.checkpoints.is_empty() && !newest.nats_answered && tree.size() > 0 {
            return Err(TransparencyError::Unconfirmed);
        }
        self.poll_nats_at = (!newest.nats_answered).then(|| Instant::now() + NATS_POLL_INTERVAL);
        self.ahead.clear();
        for checkpoint in newest.checkpoints {
            if checkpoint.position <= position_of(&tree) {
                let root = Proof::Root { size: checkpoint.position.as_sequence() };
                let root = transparency::prove(&mut *snapshot, root).await?;
                compare(&checkpoint, root[0])?;
            } else {
                self.ahead.push_back(checkpoint);
            }
        }
        self.forward();
        Ok(tree)
    }

    /// Publishes the last checkpoint on NATS, once the tree agrees with the checkpoint that NATS holds.
    fn forward(&self) {
        if self.poll_nats_at.is_none() && self.ahead.is_empty() {
            self.published.forward();
        }
    }

    /// Verifies that the log still has the event with which the tree ends. It has another one if it was truncated and extended
    /// between two iterations.
    async fn confirm_end(&self, tree: &Tree) -> Result<(), TransparencyError> {
        let Some(before) = tree.size().checked_sub(1).map(Position::from_sequence) else { return Ok(()) };
        let mut last = Tree::default();
        self.hash(&mut last, before, before.next()).await?;
        if last.last_leaf() == tree.last_leaf() { Ok(()) } else { Err(TransparencyError::Regrown(before.next())) }
    }

    /// Adds the next events to the tree, signs it and stores it. Returns `None` when another projector was faster.
    async fn grow(&mut self, mut tree: Tree, head: Position) -> Result<Option<Tree>, TransparencyError> {
        let from = position_of(&tree);
        let mut until = head.min(from.plus(CHUNK_EVENTS));
        if let Some(ahead) = self.ahead.front() {
            until = until.min(ahead.position);
        }
        let (tiles, oldest) = self.hash(&mut tree, from, until).await?;
        while let Some(ahead) = self.ahead.pop_front_if(|ahead| ahead.position == until) {
            compare(&ahead, tree.root())?;
        }
        let checkpoint = self.ahead.is_empty().then(|| self.key.sign(until, tree.root()));
        if let Some(note) = &checkpoint {
            fail_point("note");
            self.published.publish(note).await?;
            fail_point("noted");
            self.forward();
        }
        if !store::grow(&self.read_model, from, &tree, tiles, checkpoint.as_deref()).await? {
            return Ok(None);
        }
        self.metrics.position.set(until.get());
        self.metrics.delay_seconds.set((Utc::now() - oldest).as_seconds_f64().max(0.0));
        if until < head {
            self.next_at = Instant::now();
        }
        Ok(Some(tree))
    }

    /// Adds the events to the tree. Returns the tiles that they filled, and the time of the oldest event.
    async fn hash(
        &self,
        tree: &mut Tree,
        from: Position,
        until: Position,
    ) -> Result<(HashMap<TileId, Vec<u8>>, DateTime<Utc>), TransparencyError> {
        let (mut tiles, mut oldest) = (HashMap::new(), None);
        let mut events = scan(&self.event_store, from, until).await?;
        while let Some(event) = events.next().await? {
            let line = CloudEvent::try_from(&event).map_err(ReadError::from)?.to_json();
            oldest.get_or_insert(event.recorded_at);
            tree.push(&record_hash(&line), |id, tile| drop(tiles.insert(id, tile)));
        }
        Ok((tiles, oldest.unwrap_or_default()))
    }
}

impl run_loop::Step for TransparencyLog {
    type Error = TransparencyError;

    async fn due(&mut self) {
        sleep_until(self.next_at).await;
    }

    /// Adds the new events of the log to the tree.
    async fn step(&mut self) -> Result<(), TransparencyError> {
        if self.poll_nats_at.is_some_and(|at| at <= Instant::now()) && self.published.nats_is_connected() {
            self.tree = None;
        }
        let known = self.tree.take();
        let is_loaded = known.is_none();
        let tree = match known {
            Some(tree) => tree,
            None => self.load().await?,
        };
        self.next_at = Instant::now() + MIN_BATCH_INTERVAL;
        let from = position_of(&tree);
        let head = event_log::head(&self.event_store).await?;
        let after = self.ahead.back().map_or(from, |ahead| ahead.position);
        if head < after {
            return Err(ReadError::CutOff { end: head, after }.into());
        }
        if is_loaded || head > from {
            self.confirm_end(&tree).await?;
        }
        self.metrics.position.set(from.get());
        self.tree = if head == from {
            self.metrics.delay_seconds.set(0.0);
            // An operator may have discarded the stored one.
            store::is_at(&self.read_model, from).await?.then_some(tree)
        } else {
            self.grow(tree, head).await?
        };
        if self.tree.as_ref().is_some_and(|tree| position_of(tree) == head) {
            self.complete_at = Instant::now();
        }
        Ok(())
    }

    async fn observe(&mut self, outcome: Result<(), &TransparencyError>) {
        let Err(error) = outcome else {
            self.metrics.refused.set(0);
            return;
        };
        // A database that is unreachable meanwhile does not end a refusal.
        if error.is_integrity_violation() {
            self.metrics.refused.set(1);
        }
        self.tree = None;
        self.metrics.delay_seconds.set(self.complete_at.elapsed().as_secs_f64());
    }

    fn report(&self, failure: Option<&TransparencyError>) {
        match failure {
            Some(reason) if reason.is_integrity_violation() => {
                error!(event.name = "transparency.refused", %reason, "No checkpoint is signed");
            }
            Some(reason) => {
                warn!(event.name = "transparency.waiting", %reason, "No checkpoint can be signed; retrying");
            }
            None => info!(event.name = "transparency.recovered", "Checkpoints are signed again"),
        }
    }
}

fn compare(signed: &Checkpoint, found: Hash) -> Result<(), TransparencyError> {
    if signed.root == found {
        return Ok(());
    }
    let (signed_root, found) = (signed.root.to_string(), found.to_string());
    Err(TransparencyError::Forked { position: signed.position, signed: signed_root, found })
}

fn position_of(tree: &Tree) -> Position {
    Position::from_sequence(tree.size())
}
