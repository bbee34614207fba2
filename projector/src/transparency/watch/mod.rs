//! Compares the whole log with the Merkle tree and the signed checkpoints, in rounds that never end.
//!
//! A [`round`] reads every event, builds the tree from them, and compares each tile and each checkpoint with it. The pace is a share
//! of a core. A difference is reported at once, and stays reported until a whole round has found none ([`state`]).

mod metrics;
mod round;
mod state;

use std::{path::PathBuf, time::Duration};

use chrono::Utc;
use contract::position::Position;
use event_log::{catalogue, transparency::signed_checkpoint::VerifyingKey};
use runtime::run_loop;
use sqlx::PgPool;
use tokio::time::{Instant, sleep_until};
use tracing::{error, info, warn};

use self::{
    round::{Outcome, Round},
    state::State,
};
use super::error::TransparencyError;

pub use metrics::Metrics;
pub use round::Difference;

/// Minimum interval between the beginnings of two rounds: a short log would be read all the time.
const ROUND_INTERVAL: Duration = Duration::from_secs(10);
/// Interval between writes of the position to the read model.
const STORE_INTERVAL: Duration = Duration::from_secs(30);

pub struct Watch {
    event_store: PgPool,
    read_model: PgPool,
    key: VerifyingKey,
    /// File with the checkpoints that this projector has signed.
    file: PathBuf,
    /// Share of a core that reading and comparing takes.
    share: f64,
    metrics: Metrics,
    /// As stored, once it was loaded.
    state: State,
    is_loaded: bool,
    round: Option<Round>,
    started_at: Instant,
    /// A round begins no earlier.
    next_round_at: Instant,
    next_at: Instant,
    stored_at: Instant,
}

impl Watch {
    pub fn new(
        event_store: PgPool,
        read_model: PgPool,
        key: VerifyingKey,
        file: PathBuf,
        share: f64,
        metrics: Metrics,
    ) -> Self {
        let now = Instant::now();
        Self {
            event_store,
            read_model,
            key,
            file,
            share,
            metrics,
            state: State::default(),
            is_loaded: false,
            round: None,
            started_at: now,
            next_round_at: now,
            next_at: now,
            stored_at: now,
        }
    }

    async fn begin(&mut self) -> Result<Round, TransparencyError> {
        self.next_round_at = Instant::now() + ROUND_INTERVAL;
        // Only a round from the start may end an alarm.
        let from = if self.state.difference.is_some() { Position::START } else { self.state.position };
        let mut round = Round::begin(&self.read_model, &self.key, self.file.clone(), from).await?;
        if let Some(what) = catalogue::difference(&self.event_store).await? {
            round.log_changed(None, what);
        }
        Ok(round)
    }

    /// Compares the next chunk of the log.
    async fn advance(&mut self) -> Result<(), TransparencyError> {
        if !self.is_loaded {
            self.state = State::load(&self.read_model).await?;
            self.is_loaded = true;
            if let Some(difference) = &self.state.difference {
                report(difference, "The watch had found a difference before it was started");
            }
        }
        let mut round = match self.round.take() {
            Some(round) => round,
            None => self.begin().await?,
        };
        let outcome = round.advance(&self.event_store, &self.read_model).await?;
        if let Some(difference) = round.difference()
            && self.state.difference.as_ref() != Some(difference)
        {
            report(difference, "The log, the tree or a checkpoint was changed");
            // First, as the alarm does not depend on the write.
            self.state.difference = Some(difference.clone());
            self.state.store(&self.read_model).await?;
        }
        if matches!(outcome, Outcome::Continues) {
            self.state.position = round.position();
            self.round = Some(round);
            if self.stored_at.elapsed() >= STORE_INTERVAL {
                self.state.store(&self.read_model).await?;
                self.stored_at = Instant::now();
            }
            return Ok(());
        }
        self.state.position = Position::START;
        if matches!(outcome, Outcome::Complete) {
            if round.difference().is_none() && self.state.difference.take().is_some() {
                info!(event.name = "watch.recovered", "A whole round has found no difference");
            }
            self.state.completed_at = Some(Utc::now());
            self.state.store(&self.read_model).await?;
        }
        Ok(())
    }
}

fn report(difference: &Difference, message: &str) {
    let position = difference.position.map(Position::get);
    error!(event.name = "watch.difference", position, reason = %difference.what, "{message}");
}

impl run_loop::Step for Watch {
    type Error = TransparencyError;

    async fn due(&mut self) {
        let begins = if self.round.is_none() { self.next_round_at } else { self.next_at };
        sleep_until(begins.max(self.next_at)).await;
    }

    async fn step(&mut self) -> Result<(), TransparencyError> {
        let started = Instant::now();
        let outcome = self.advance().await;
        self.next_at = Instant::now() + started.elapsed().mul_f64(1.0 / self.share - 1.0);
        outcome
    }

    async fn observe(&mut self, outcome: Result<(), &TransparencyError>) {
        if outcome.is_err() {
            self.round = None;
        }
        self.metrics.show(&self.state, self.started_at);
    }

    fn report(&self, failure: Option<&TransparencyError>) {
        if let Some(reason) = failure {
            warn!(event.name = "watch.waiting", %reason, "The log is not watched; retrying");
        } else {
            info!("The log is watched again");
        }
    }
}
