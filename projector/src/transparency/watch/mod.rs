//! Compares the whole log with the Merkle tree and the signed checkpoints, in rounds that never end.
//!
//! A [`round`] reads every event, builds the tree from them, and compares each tile and each checkpoint with it. The pace is a share
//! of a core. A difference is reported at once, and stays reported until a whole round has found none ([`state`]).

mod metrics;
mod round;
mod state;

use std::{path::PathBuf, time::Duration};

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
    /// As stored; `None` until it was read.
    state: Option<State>,
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
            state: None,
            round: None,
            started_at: now,
            next_round_at: now,
            next_at: now,
            stored_at: now,
        }
    }

    /// Compares the next chunk of the log.
    async fn advance(&mut self) -> Result<(), TransparencyError> {
        let state = match self.state.take() {
            Some(state) => state,
            None => {
                let state = State::load(&self.read_model).await?;
                if let Some(difference) = &state.difference {
                    report(difference, "The watch had found a difference before it was started");
                }
                state
            }
        };
        let state = self.state.insert(state);
        let mut round = match self.round.take() {
            Some(round) => round,
            None => {
                self.next_round_at = Instant::now() + ROUND_INTERVAL;
                // Only a round from the start may end an alarm.
                let from = if state.difference.is_some() { Position::START } else { state.position };
                let mut round = Round::begin(&self.read_model, &self.key, self.file.clone(), from).await?;
                if let Some(what) = catalogue::difference(&self.event_store).await? {
                    round.log_changed(None, what);
                }
                round
            }
        };
        let outcome = round.advance(&self.event_store, &self.read_model).await?;
        if let Some(difference) = round.difference()
            && state.difference.as_ref() != Some(difference)
        {
            report(difference, "The log, the tree or a checkpoint was changed");
            state.difference = Some(difference.clone());
            state.store_difference(&self.read_model).await?;
        }
        state.position = round.position();
        match outcome {
            Outcome::Continues => self.round = Some(round),
            // An operator has discarded the tree, which the other task builds again.
            Outcome::Superseded => state.position = Position::START,
            Outcome::Ended => {
                state.position = Position::START;
                if round.is_complete() {
                    if round.difference().is_none() && state.difference.take().is_some() {
                        state.store_difference(&self.read_model).await?;
                        info!(event.name = "watch.recovered", "A whole round has found no difference");
                    }
                    state.complete(&self.read_model).await?;
                }
                self.stored_at = Instant::now();
            }
        }
        if self.stored_at.elapsed() >= STORE_INTERVAL {
            state.store_position(&self.read_model).await?;
            self.stored_at = Instant::now();
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
        if let Some(state) = &self.state {
            self.metrics.show(state, self.started_at);
        }
    }

    fn report(&self, failure: Option<&TransparencyError>) {
        match failure {
            Some(reason) => warn!(event.name = "watch.waiting", %reason, "The log is not watched; retrying"),
            None => info!("The log is watched again"),
        }
    }
}
