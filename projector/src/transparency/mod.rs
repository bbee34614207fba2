//! The transparency log: makes the Merkle tree over the event log grow, and signs a checkpoint whenever it has.
//!
//! Any number of projectors may do this. The tree follows from the log alone, each step is stored by compare-and-set, and a
//! checkpoint is [published] before it is stored, so what anybody is ever shown is outside of the database already. Before it
//! signs, a projector makes sure that the tree still begins with the newest checkpoints that it finds published: a log
//! that was changed and a read model that was made anew from it cannot get a signature.

pub mod key;
mod published;
mod store;

use std::{
    collections::{HashMap, VecDeque},
    sync::atomic::AtomicU64,
    time::Duration,
};

use chrono::{DateTime, Utc};
use contract::{cloud_event::CloudEvent, position::Position};
use event_log::{
    self, ReadError,
    scan::scan,
    transparency::{
        self,
        merkle::{Hash, MissingTile, Proof, TileId, Tree, record_hash},
        signed_checkpoint::{Checkpoint, SigningKey},
    },
};
use prometheus_client::{
    metrics::gauge::Gauge,
    registry::{Registry, Unit},
};
use runtime::run_loop::{self, run_loop};
use sqlx::PgPool;
use tokio::time::{Instant, error::Elapsed, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

pub use published::{OpenError, Published};

/// A checkpoint is signed no more often than this, and an event is covered by one not much later than this after its commit.
const PACE: Duration = Duration::from_millis(250);
/// Events from one checkpoint to the next when there are many: their hashes are 1.6 MB.
const STRETCH: i64 = 50_000;
/// How often NATS is asked what it holds while it is connected and does not say.
const ASK_AGAIN: Duration = Duration::from_secs(2);

/// Why no checkpoint can be signed.
#[derive(Debug, thiserror::Error)]
pub enum TransparencyError {
    #[error(transparent)]
    Log(#[from] ReadError),
    #[error("the read model cannot be used: {0}")]
    ReadModel(#[from] sqlx::Error),
    #[error("the file of checkpoints cannot be written: {0}")]
    File(#[from] std::io::Error),
    #[error(
        "the log is not the one whose first {position} events were signed: their tree had the root {signed} then, and has {found} now"
    )]
    Forked { position: Position, signed: String, found: String },
    #[error(
        "the event at position {0} is not the one that was taken into the tree there: the log was changed, or cut off and has grown again"
    )]
    Regrown(Position),
    #[error(
        "nothing tells whether the tree is the one that was signed: the file of checkpoints is empty, and NATS does not say what it holds"
    )]
    Unconfirmed,
    #[error("the transparency log is damaged: {0}")]
    Tiles(#[from] MissingTile),
    #[error("a database or the file of checkpoints did not answer in time")]
    TimedOut(#[from] Elapsed),
}

impl TransparencyError {
    /// Whether somebody has to look into it, rather than just wait.
    const fn is_alarm(&self) -> bool {
        match self {
            Self::Log(error) => error.is_integrity_violation(),
            Self::Forked { .. } | Self::Regrown(_) | Self::Tiles(_) => true,
            Self::ReadModel(_) | Self::File(_) | Self::Unconfirmed | Self::TimedOut(_) => false,
        }
    }
}

/// What operators see of the transparency log.
#[derive(Clone)]
pub struct Metrics {
    position: Gauge,
    delay_seconds: Gauge<f64, AtomicU64>,
    refused: Gauge,
}

impl Metrics {
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self { position: Gauge::default(), delay_seconds: Gauge::default(), refused: Gauge::default() };
        registry.register(
            "checkpoint_position",
            "Position up to which the transparency log is signed",
            metrics.position.clone(),
        );
        let help = "Time from the commit of an event to its signature, or since all of the log was last signed while none is possible; 0 when all of it is";
        registry.register_with_unit("checkpoint_delay", help, Unit::Seconds, metrics.delay_seconds.clone());
        registry.register(
            "checkpoint_refused",
            "1 while no checkpoint is signed because the log is not what was signed before",
            metrics.refused.clone(),
        );
        metrics
    }
}

/// Makes the transparency log grow.
pub struct TransparencyLog {
    event_store: PgPool,
    read_model: PgPool,
    key: SigningKey,
    published: Published,
    metrics: Metrics,
    /// The tree as it is stored; `None` when somebody else may have made it grow.
    tree: Option<Tree>,
    /// Checkpoints known to be published for which the tree is still too small, in their order: it must pass through them.
    promised: VecDeque<Checkpoint>,
    /// When NATS is asked once more what it holds; `None` when it has said so since the tree was loaded.
    ask_nats_at: Option<Instant>,
    next_at: Instant,
    /// When all of the log was last known to be signed.
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
            promised: VecDeque::new(),
            ask_nats_at: None,
            next_at: now,
            complete_at: now,
        }
    }

    /// Runs until the shutdown signal.
    pub async fn run(mut self, stop: CancellationToken) {
        // Concurrent, as signing does not wait for NATS.
        let passing_on = self.published.passing_on();
        tokio::select! {
            () = run_loop(&mut self, &stop) => (),
            () = passing_on => (),
        }
    }

    /// The tree as stored, if it goes with what was published.
    async fn load(&mut self) -> Result<Tree, TransparencyError> {
        let newest = self.published.newest().await;
        let tree = store::load(&self.read_model).await?;
        if newest.checkpoints.is_empty() && !newest.nats_answered && tree.size() > 0 {
            return Err(TransparencyError::Unconfirmed);
        }
        self.ask_nats_at = (!newest.nats_answered).then(|| Instant::now() + ASK_AGAIN);
        self.promised.clear();
        for checkpoint in newest.checkpoints {
            if checkpoint.position <= position_of(&tree) {
                let root = Proof::Root { size: checkpoint.position.as_sequence() };
                let root = transparency::prove(&self.read_model, root).await?;
                compare(&checkpoint, root[0])?;
            } else {
                self.promised.push_back(checkpoint);
            }
        }
        self.pass_on();
        Ok(tree)
    }

    /// Lets NATS have what was signed, once everything that it held was found in the tree.
    fn pass_on(&self) {
        if self.ask_nats_at.is_none() && self.promised.is_empty() {
            self.published.pass_on();
        }
    }

    /// Makes sure that the log still has the event there with which the tree ends. It has another one after it was cut off and
    /// has grown again, and nobody may have looked in between.
    async fn confirm_end(&self, tree: &Tree) -> Result<(), TransparencyError> {
        let Some(before) = tree.size().checked_sub(1).map(Position::from_sequence) else { return Ok(()) };
        let mut last = Tree::default();
        self.hash(&mut last, before, before.next()).await?;
        if last.last_leaf() == tree.last_leaf() { Ok(()) } else { Err(TransparencyError::Regrown(before.next())) }
    }

    /// Takes the next events into the tree, signs it and stores it; `None` when somebody else was faster.
    async fn grow(&mut self, mut tree: Tree, head: Position) -> Result<Option<Tree>, TransparencyError> {
        let from = position_of(&tree);
        let mut until = head.min(from.plus(STRETCH));
        if let Some(promised) = self.promised.front() {
            until = until.min(promised.position);
        }
        let (tiles, oldest) = self.hash(&mut tree, from, until).await?;
        while let Some(promised) = self.promised.pop_front_if(|promised| promised.position == until) {
            compare(&promised, tree.root())?;
        }
        let checkpoint = self.promised.is_empty().then(|| self.key.sign(until, tree.root()));
        if let Some(note) = &checkpoint {
            self.published.publish(note).await?;
            self.pass_on();
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

    /// Adds the events to the tree. Returns the tiles that they filled, and the time of the oldest.
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

    /// Takes the new events of the log into the tree.
    async fn step(&mut self) -> Result<(), TransparencyError> {
        if self.ask_nats_at.is_some_and(|at| at <= Instant::now()) && self.published.nats_is_connected() {
            self.tree = None;
        }
        let known = self.tree.take();
        let is_loaded = known.is_none();
        let tree = match known {
            Some(tree) => tree,
            None => self.load().await?,
        };
        self.next_at = Instant::now() + PACE;
        let from = position_of(&tree);
        let head = event_log::head(&self.event_store).await?;
        let after = self.promised.back().map_or(from, |promised| promised.position);
        if head < after {
            return Err(ReadError::CutOff { end: head, after }.into());
        }
        if is_loaded || head > from {
            self.confirm_end(&tree).await?;
        }
        self.metrics.position.set(from.get());
        self.tree = if head == from {
            self.metrics.delay_seconds.set(0.0);
            Some(tree)
        } else {
            self.grow(tree, head).await?
        };
        if self.tree.as_ref().is_some_and(|tree| position_of(tree) == head) {
            self.complete_at = Instant::now();
        }
        Ok(())
    }

    async fn observe(&mut self, outcome: Result<(), &TransparencyError>) {
        self.metrics.refused.set(i64::from(outcome.is_err_and(TransparencyError::is_alarm)));
        if outcome.is_err() {
            self.tree = None;
            self.metrics.delay_seconds.set(self.complete_at.elapsed().as_secs_f64());
        }
    }

    fn report(&self, failure: Option<&TransparencyError>) {
        match failure {
            Some(reason) if reason.is_alarm() => error!(%reason, "No checkpoint is signed"),
            Some(reason) => warn!(%reason, "No checkpoint can be signed; retrying"),
            None => info!("Checkpoints are signed again"),
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

impl From<transparency::ReadError> for TransparencyError {
    fn from(error: transparency::ReadError) -> Self {
        match error {
            transparency::ReadError::Database(error) => Self::ReadModel(error),
            transparency::ReadError::Tile(missing) => Self::Tiles(missing),
        }
    }
}

fn position_of(tree: &Tree) -> Position {
    Position::from_sequence(tree.size())
}
