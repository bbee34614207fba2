//! Grows the Merkle tree over the event log, and signs it.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use chrono::{DateTime, Utc};
use contract::{cloud_event::CloudEvent, position::Position};
use event_log::{
    self, ReadError,
    scan::scan,
    transparency::{
        self,
        merkle::{Hash, Proof, TileId, Tree, needed, record_hash},
        signed_checkpoint::{Checkpoint, SigningKey},
        statement::Statement,
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

use super::{
    error::TransparencyError,
    memory::{self, Insufficient, Memory},
    metrics::Metrics,
    notes::{self, SignedNote},
    published::Published,
    store, window,
};

/// Minimum interval between two checkpoints, and about the longest time from a commit to the checkpoint that covers it.
const MIN_BATCH_INTERVAL: Duration = Duration::from_millis(250);
/// Events per checkpoint, at most: their hashes take 1.6 MB.
const CHUNK_EVENTS: i64 = 50_000;
/// Interval between queries for the last checkpoint on NATS, while it is connected and does not respond.
const NATS_POLL_INTERVAL: Duration = Duration::from_secs(2);

/// Events of a log that was completely signed for the last time before have waited for their signature.
const COMPLETE_WITHIN: Duration = Duration::from_secs(5);
/// How long the longest delay is shown.
const DELAY_SHOWN_FOR: Duration = Duration::from_hours(1);

/// Grows the tree and signs it.
pub struct TransparencyLog {
    event_store: PgPool,
    read_model: PgPool,
    key: SigningKey,
    published: Published,
    metrics: Metrics,
    /// Set once the empty log is signed or cannot be. Until then the service is not ready: the first purchase comes afterwards.
    is_begun: Arc<AtomicBool>,
    /// Decisions of operators.
    statements: Vec<Statement>,
    /// The tree as it is stored; `None` when another projector may have grown it.
    tree: Option<Tree>,
    /// Published checkpoints beyond the end of the tree, in order: it must pass through them.
    ahead: VecDeque<Checkpoint>,
    /// Why the log cannot be signed even if it agrees with them.
    insufficient: Option<Insufficient>,
    /// The log was empty when the tree was loaded, so that no memory was needed.
    was_empty: bool,
    /// When to query NATS again; `None` when it has responded since the tree was loaded.
    poll_nats_at: Option<Instant>,
    next_at: Instant,
    /// With the time of its measurement.
    longest_delay: (f64, Instant),
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
        is_begun: Arc<AtomicBool>,
    ) -> Self {
        let now = Instant::now();
        Self {
            event_store,
            read_model,
            key,
            published,
            metrics,
            is_begun,
            statements: Vec::new(),
            tree: None,
            ahead: VecDeque::new(),
            insufficient: None,
            was_empty: false,
            poll_nats_at: None,
            next_at: now,
            longest_delay: (0.0, now),
            complete_at: now,
        }
    }

    /// Runs until the shutdown signal.
    pub async fn run(mut self, stop: CancellationToken) {
        // Concurrent, as signing does not wait for NATS.
        let mut publisher = self.published.publisher();
        tokio::join!(run_loop(&mut self, &stop), run_loop(&mut publisher, &stop));
    }

    /// Signs the empty log, so that every later one can be compared with something. NATS is not waited for: what it has is compared
    /// afterwards.
    async fn begin(&mut self) -> Result<(), TransparencyError> {
        if self.is_begun.load(Ordering::Relaxed) {
            return Ok(());
        }
        let note = self.key.sign_at(Position::START, Tree::default().root(), Utc::now());
        if self.published.is_new().await? {
            self.published.publish(&note).await?;
        }
        store::begin(&self.read_model, &note).await?;
        self.is_begun.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// The stored tree, if it agrees with what was signed, according to the memories.
    async fn load(&mut self, is_empty: bool) -> Result<Tree, TransparencyError> {
        let [file, nats] = self.published.memories().await?;
        let nats_answered = nats.notes.is_some();
        // Another projector may grow the tree meanwhile.
        let mut snapshot = transparency::snapshot(&self.read_model).await?;
        let tree = store::load(&mut snapshot).await?;
        let key = self.key.verifying_key();
        let stored = store::notes(&mut *snapshot).await?;
        let stored = stored.iter().filter_map(|note| SignedNote::open(note, key).ok()).collect();
        let memories = [file, nats, Memory { name: "the read model", notes: Some(stored) }];
        self.was_empty = is_empty;
        self.insufficient = memory::insufficient(&memories, is_empty, Utc::now());
        let compared = memory::to_compare(&memories, key.origin());
        let statements = memory::all_statements(&memories);
        self.statements = notes::statements(&statements);
        self.poll_nats_at = (!nats_answered).then(|| Instant::now() + NATS_POLL_INTERVAL);
        self.ahead.clear();
        let mut confirmed = Position::START;
        for checkpoint in compared {
            if checkpoint.position == Position::START {
                compare(&checkpoint, Tree::default().root())?;
            } else if checkpoint.position <= position_of(&tree) {
                let root = Proof::Root { size: checkpoint.position.as_sequence() };
                let root = transparency::prove(&mut *snapshot, root).await?;
                compare(&checkpoint, root[0])?;
                confirmed = confirmed.max(checkpoint.position);
            } else {
                self.ahead.push_back(checkpoint);
            }
        }
        for note in statements {
            if self.published.keep(&note).await? {
                warn!(event.name = "transparency.statement", note = note.text, "An operator has decided on the log");
            }
        }
        self.forward();
        if self.insufficient.is_some() || !self.ahead.is_empty() || confirmed == position_of(&tree) {
            return Ok(tree);
        }
        // No checkpoint covers the rest of the tiles, so they are built again from the log.
        let tiles = transparency::tiles(&mut *snapshot, &needed(confirmed.as_sequence())).await?;
        drop(snapshot);
        store::cut_back(&self.read_model, position_of(&tree), confirmed).await?;
        Ok(Tree::restore(confirmed.as_sequence(), &tiles)?)
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
        self.hash(&mut last, before, before.next(), DateTime::UNIX_EPOCH, &mut Vec::new()).await?;
        if last.last_leaf() == tree.last_leaf() { Ok(()) } else { Err(TransparencyError::Regrown(before.next())) }
    }

    /// Adds the next events to the tree, signs it and stores it. Returns `None` when another projector was faster.
    async fn grow(
        &mut self,
        mut tree: Tree,
        head: Position,
        has_waited: bool,
    ) -> Result<Option<Tree>, TransparencyError> {
        let from = position_of(&tree);
        // Events that no checkpoint covers yet.
        let is_new = self.ahead.is_empty();
        let chunk = if is_new { window::CHUNK_EVENTS } else { CHUNK_EVENTS };
        let mut until = head.min(from.plus(chunk));
        if let Some(ahead) = self.ahead.front() {
            until = until.min(ahead.position);
        }
        let mut late = Vec::new();
        // The times of the events are in the database, as the events are: they do not show that an event has not waited.
        let compared_before = match (is_new, has_waited) {
            (false, _) => DateTime::UNIX_EPOCH,
            (true, true) => DateTime::<Utc>::MAX_UTC,
            (true, false) => Utc::now() - window::COMPARED_AFTER,
        };
        let (tiles, oldest) = self.hash(&mut tree, from, until, compared_before, &mut late).await?;
        if !late.is_empty() {
            let unpublished = window::compare(self.published.nats(), late).await?;
            self.metrics.unpublished_events.inc_by(unpublished);
        }
        while let Some(ahead) = self.ahead.pop_front_if(|ahead| ahead.position == until) {
            compare(&ahead, tree.root())?;
        }
        let time = memory::time_of_signing(&self.statements, Utc::now());
        let is_signed = self.ahead.is_empty() && self.insufficient.is_none();
        let checkpoint = is_signed.then(|| self.key.sign_at(until, tree.root(), time));
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
        let delay = (Utc::now() - oldest).as_seconds_f64().max(0.0);
        self.metrics.delay_seconds.set(delay);
        if is_new {
            self.observe_delay(delay);
        }
        if until < head {
            self.next_at = Instant::now();
        }
        Ok(Some(tree))
    }

    /// The tree, if the stored one is the same: an operator may have discarded it. Its checkpoint is signed again if it is missing, for
    /// example after a decision of an operator, or is not one of this key.
    async fn confirm_stored(&mut self, tree: Tree) -> Result<Option<Tree>, TransparencyError> {
        let (position, note) = transparency::head(&self.read_model).await?;
        if position != position_of(&tree) {
            return Ok(None);
        }
        let key = self.key.verifying_key();
        let is_signed = note.is_some_and(|note| key.open(&note).is_ok_and(|found| found.position == position));
        if is_signed || position == Position::START || !self.ahead.is_empty() {
            return Ok(Some(tree));
        }
        warn!(
            event.name = "transparency.signed_again",
            position = position.get(),
            "The read model has no checkpoint of the log"
        );
        let note = self.key.sign_at(position, tree.root(), memory::time_of_signing(&self.statements, Utc::now()));
        self.published.publish(&note).await?;
        self.forward();
        let is_stored = store::grow(&self.read_model, position, &tree, HashMap::new(), Some(&note)).await?;
        Ok(is_stored.then_some(tree))
    }

    /// Keeps the longest delay for an hour: an outage is noticed although the first checkpoint afterwards ends it.
    fn observe_delay(&mut self, delay: f64) {
        let (longest, since) = self.longest_delay;
        if delay >= longest || since.elapsed() >= DELAY_SHOWN_FOR {
            self.longest_delay = (delay, Instant::now());
            self.metrics.longest_delay_seconds.set(delay);
        }
    }

    /// Adds the events to the tree, and the lines of those from before a time to `late`. Returns the tiles that they filled, and the time of the oldest event.
    async fn hash(
        &self,
        tree: &mut Tree,
        from: Position,
        until: Position,
        late_before: DateTime<Utc>,
        late: &mut Vec<(Position, Vec<u8>)>,
    ) -> Result<(HashMap<TileId, Vec<u8>>, DateTime<Utc>), TransparencyError> {
        let (mut tiles, mut oldest) = (HashMap::new(), None);
        let mut events = scan(&self.event_store, from, until).await?;
        while let Some(event) = events.next().await? {
            let line = CloudEvent::try_from(&event).map_err(ReadError::from)?.to_json();
            oldest.get_or_insert(event.recorded_at);
            tree.push(&record_hash(&line), |id, tile| drop(tiles.insert(id, tile)));
            if event.recorded_at < late_before {
                late.push((event.position, line));
            }
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
        let head = event_log::head(&self.event_store).await?;
        let is_empty = head == Position::START && event_log::is_empty(&self.event_store).await?;
        if self.was_empty && !is_empty {
            self.tree = None;
        }
        if is_empty {
            self.begin().await?;
        } else {
            self.is_begun.store(true, Ordering::Relaxed);
        }
        let known = self.tree.take();
        let is_loaded = known.is_none();
        let tree = match known {
            Some(tree) => tree,
            None => self.load(is_empty).await?,
        };
        self.next_at = Instant::now() + MIN_BATCH_INTERVAL;
        let from = position_of(&tree);
        // Again, as another projector may have grown the tree since then.
        let head = if head < from { event_log::head(&self.event_store).await? } else { head };
        let after = self.ahead.back().map_or(from, |ahead| ahead.position);
        if head < after {
            return Err(ReadError::CutOff { end: head, after }.into());
        }
        if is_loaded || head > from {
            self.confirm_end(&tree).await?;
        }
        // What there is has been compared.
        if self.ahead.is_empty()
            && let Some(reason) = self.insufficient.take()
        {
            return Err(TransparencyError::Unconfirmed(reason));
        }
        self.metrics.position.set(from.get());
        self.tree = if head == from {
            self.metrics.delay_seconds.set(0.0);
            self.observe_delay(0.0);
            self.confirm_stored(tree).await?
        } else {
            let has_waited = is_loaded || self.complete_at.elapsed() >= COMPLETE_WITHIN;
            self.grow(tree, head, has_waited).await?
        };
        if self.tree.as_ref().is_some_and(|tree| position_of(tree) == head) {
            self.complete_at = Instant::now();
        }
        Ok(())
    }

    async fn observe(&mut self, outcome: Result<(), &TransparencyError>) {
        self.is_begun.store(true, Ordering::Relaxed);
        let is_unconfirmed = matches!(outcome, Err(TransparencyError::Unconfirmed(_)));
        self.metrics.unconfirmed.set(is_unconfirmed.into());
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
