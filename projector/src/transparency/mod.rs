//! The transparency log: makes the Merkle tree over the event log grow, and signs a checkpoint whenever it has.
//!
//! Any number of projectors may do this. The tree follows from the log alone, each step is stored by compare-and-set, and a
//! checkpoint is [published] before it is stored, so what anybody is ever shown is outside of the database already. Before it
//! signs, a projector makes sure that the tree still begins with the newest checkpoint that it finds published: a log
//! that was changed and a read model that was made anew from it cannot get a signature.

pub mod key;
mod published;
mod store;

use std::{collections::HashMap, sync::atomic::AtomicU64, time::Duration};

use chrono::{DateTime, Utc};
use prometheus_client::{
    metrics::gauge::Gauge,
    registry::{Registry, Unit},
};
use shared::{
    backoff::Backoff,
    checkpoint::{Checkpoint, SigningKey},
    cloud_event::{CloudEvent, NotCanonical},
    event_log::{self, Position, ReadError},
    merkle::{Hash, MissingTile, Proof, TileId, Tree, record_hash},
    scan::scan,
    transparency_log,
};
use sqlx::PgPool;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

pub use published::{OpenError, Published};

/// A checkpoint is signed no more often than this, and an event is covered by one not much later than this after its commit.
const PACE: Duration = Duration::from_millis(250);
/// Events from one checkpoint to the next when there are many: their hashes are 1.6 MB.
const STRETCH: i64 = 50_000;
/// Longer than every bound inside of a step: past it, somebody has vanished without a word.
const STEP_LIMIT: Duration = Duration::from_secs(15);

/// Why no checkpoint can be signed.
#[derive(Debug, thiserror::Error)]
pub enum TransparencyError {
    #[error(transparent)]
    Log(#[from] ReadError),
    #[error("the read model cannot be used: {0}")]
    ReadModel(#[from] sqlx::Error),
    #[error("the file of checkpoints cannot be written: {0}")]
    File(#[from] std::io::Error),
    #[error("the event at position {position} was not written by this system: {source}")]
    NotCanonical { position: Position, source: NotCanonical },
    #[error(
        "the log is not the one whose first {position} events were signed: their tree had the root {signed} then, and has {found} now"
    )]
    Forked { position: Position, signed: String, found: String },
    #[error("the transparency log is damaged: {0}")]
    Tiles(#[from] MissingTile),
    #[error("a database or the file of checkpoints did not answer in time")]
    TimedOut,
}

impl TransparencyError {
    /// Whether somebody has to look into it, rather than just wait.
    const fn is_alarm(&self) -> bool {
        match self {
            Self::Log(error) => error.is_alarm(),
            Self::NotCanonical { .. } | Self::Forked { .. } | Self::Tiles(_) => true,
            Self::ReadModel(_) | Self::File(_) | Self::TimedOut => false,
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
        let help = "Time from the commit of an event to its signature, or since all of the log was last signed while none is possible";
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
    /// The newest checkpoint known to be published, when the tree is still smaller: it must pass through it.
    promised: Option<Checkpoint>,
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
            promised: None,
            next_at: now,
            complete_at: now,
        }
    }

    /// Runs until told to stop.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut backoff = Backoff::default();
        let mut told: Option<String> = None;
        loop {
            let stepped = tokio::select! {
                stepped = timeout(STEP_LIMIT, self.step()) => stepped.unwrap_or(Err(TransparencyError::TimedOut)),
                () = stop.cancelled() => return,
            };
            self.metrics.refused.set(i64::from(stepped.as_ref().is_err_and(TransparencyError::is_alarm)));
            match stepped {
                Ok(()) => {
                    backoff.reset();
                    if told.take().is_some() {
                        info!("Checkpoints are signed again");
                    }
                }
                Err(reason) => {
                    self.tree = None;
                    self.metrics.delay_seconds.set(self.complete_at.elapsed().as_secs_f64());
                    let text = reason.to_string();
                    if told.as_ref() != Some(&text) {
                        if reason.is_alarm() {
                            error!(reason = text, "No checkpoint is signed");
                        } else {
                            warn!(reason = text, "No checkpoint can be signed; trying again");
                        }
                        told = Some(text);
                    }
                    tokio::select! {
                        () = backoff.wait() => (),
                        () = stop.cancelled() => return,
                    }
                }
            }
        }
    }

    /// Waits for its time, and then takes what is new in the log into the tree.
    async fn step(&mut self) -> Result<(), TransparencyError> {
        let tree = match self.tree.take() {
            Some(tree) => tree,
            None => self.load().await?,
        };
        sleep_until(self.next_at).await;
        self.published.catch_up_on_nats().await;
        self.next_at = Instant::now() + PACE;
        let from = position_of(&tree);
        let head = event_log::head(&self.event_store).await?;
        let after = self.promised.as_ref().map_or(from, |promised| promised.position);
        if head < after {
            return Err(ReadError::CutOff { end: head, after }.into());
        }
        self.metrics.position.set(from.get());
        self.tree = if head == from { Some(tree) } else { self.grow(tree, head).await? };
        if self.tree.as_ref().is_some_and(|tree| position_of(tree) == head) {
            self.complete_at = Instant::now();
        }
        Ok(())
    }

    /// The tree as stored, if it goes with what was published.
    async fn load(&mut self) -> Result<Tree, TransparencyError> {
        let newest = self.published.newest().await;
        let tree = store::load(&self.read_model).await?;
        self.promised = None;
        if let Some(checkpoint) = newest {
            if checkpoint.position <= position_of(&tree) {
                let root = Proof::Root { size: checkpoint.position.as_sequence() };
                let root = transparency_log::prove(&self.read_model, root).await?;
                compare(&checkpoint, root[0])?;
            } else {
                self.promised = Some(checkpoint);
            }
        }
        Ok(tree)
    }

    /// Takes the next events into the tree, signs it and stores it; `None` when somebody else was faster.
    async fn grow(&mut self, mut tree: Tree, head: Position) -> Result<Option<Tree>, TransparencyError> {
        let from = position_of(&tree);
        let mut until = head.min(from.plus(STRETCH));
        if let Some(promised) = &self.promised {
            until = until.min(promised.position);
        }
        let (tiles, oldest) = self.hash(&mut tree, from, until).await?;
        if let Some(promised) = self.promised.take_if(|promised| promised.position == until) {
            compare(&promised, tree.root())?;
        }
        let checkpoint = self.promised.is_none().then(|| self.key.sign(until, tree.root()));
        if let Some(note) = &checkpoint {
            self.published.publish(note).await?;
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
            let position = event.position;
            let line = CloudEvent::try_from(&event)
                .map_err(|source| TransparencyError::NotCanonical { position, source })?
                .to_json();
            oldest.get_or_insert(event.recorded_at);
            tree.push(&record_hash(&line), |id, tile| drop(tiles.insert(id, tile)));
        }
        Ok((tiles, oldest.unwrap_or_default()))
    }
}

fn compare(signed: &Checkpoint, found: Hash) -> Result<(), TransparencyError> {
    if signed.root == found {
        return Ok(());
    }
    let (signed_root, found) = (signed.root.to_string(), found.to_string());
    Err(TransparencyError::Forked { position: signed.position, signed: signed_root, found })
}

impl From<transparency_log::ReadError> for TransparencyError {
    fn from(error: transparency_log::ReadError) -> Self {
        match error {
            transparency_log::ReadError::Database(error) => Self::ReadModel(error),
            transparency_log::ReadError::Tile(missing) => Self::Tiles(missing),
        }
    }
}

fn position_of(tree: &Tree) -> Position {
    Position::from_sequence(tree.size())
}
