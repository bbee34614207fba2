//! Has the signed checkpoints cosigned by witnesses, which others run ([`Settings`]).
//!
//! Signing and totals never wait for a witness. One of several projectors does it at a time: the others see the result in the read model.

mod metrics;
mod settings;
mod store;
mod witness;

use std::time::Duration;

use contract::position::Position;
use event_log::transparency::{
    self,
    cosignature::{Cosignature, WitnessKey},
    signed_checkpoint::Checkpoint,
};
use futures::future::join_all;
use reqwest::{Client, redirect::Policy};
use runtime::run_loop::{self, Reported};
use sqlx::PgPool;
use tokio::time::{Instant, error::Elapsed, sleep_until};
use tracing::{error, info, warn};

use self::{
    metrics::Labels,
    settings::Named,
    witness::{SubmitError, Witness},
};
pub use self::{metrics::Metrics, settings::Settings};

/// Of one request. A submission takes two at most, which is shorter than an iteration.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Debug, thiserror::Error)]
pub enum SubmitterError {
    #[error("the read model cannot be used: {0}")]
    ReadModel(#[from] sqlx::Error),
    #[error("the newest checkpoint in the read model is not a checkpoint")]
    NotACheckpoint,
    #[error("a database did not respond in time")]
    TimedOut(#[from] Elapsed),
}

#[derive(Default)]
struct State {
    reported: Reported,
    contradicts: bool,
}

/// Submits the newest checkpoint to all witnesses at intervals.
pub struct Submitter {
    read_model: PgPool,
    client: Client,
    witnesses: Vec<(Witness, State)>,
    quorum: usize,
    interval: Duration,
    metrics: Metrics,
    next_at: Instant,
}

impl Submitter {
    pub fn new(read_model: PgPool, named: Named, metrics: Metrics) -> anyhow::Result<Self> {
        let Named { witnesses, quorum, interval } = named;
        metrics.quorum.set(i64::try_from(quorum)?);
        let witnesses = witnesses.into_iter().map(|(key, url)| (Witness::new(key, url), State::default())).collect();
        let client = Client::builder().timeout(REQUEST_TIMEOUT).redirect(Policy::none()).build()?;
        Ok(Self { read_model, client, witnesses, quorum, interval, metrics, next_at: Instant::now() })
    }

    async fn submit(&mut self, note: &str, checkpoint: &Checkpoint) -> Vec<Cosignature> {
        let (client, read_model) = (&self.client, &self.read_model);
        let submit = self.witnesses.iter_mut().map(|(witness, _)| witness.submit(client, read_model, note, checkpoint));
        let outcomes = join_all(submit).await;
        let mut cosignatures = Vec::new();
        for ((Witness { key, url, .. }, state), outcome) in self.witnesses.iter_mut().zip(outcomes) {
            match outcome {
                Ok(cosignature) => {
                    state.contradicts = false;
                    if state.reported.recovered() {
                        info!(event.name = "witnesses.recovered", witness = key.name(), "The witness cosigns again");
                    }
                    cosignatures.push(cosignature);
                }
                Err(SubmitError::Overtaken) => (),
                Err(reason @ SubmitError::Contradicts(_)) => {
                    state.contradicts = true;
                    if state.reported.failed(&reason) {
                        error!(event.name = "witnesses.contradict", witness = key.name(), %url, %reason, note, "A witness refuses the log");
                    }
                }
                Err(reason) => {
                    if state.reported.failed(&reason) {
                        warn!(event.name = "witnesses.missing", witness = key.name(), %url, %reason, "A witness does not cosign; retrying");
                    }
                }
            }
        }
        let contradicting = self.witnesses.iter().filter(|(_, state)| state.contradicts).count();
        self.metrics.contradicting.set(i64::try_from(contradicting).unwrap_or(i64::MAX));
        cosignatures
    }

    /// Which witnesses have cosigned, also after a restart or through another projector.
    fn show(&self, note: &str, position: Position) {
        let mut cosigned = 0;
        for (Witness { key, .. }, _) in &self.witnesses {
            if let Some(cosignature) = key.cosignature(note) {
                self.metrics.position.get_or_create(&labels(key)).set(position.get());
                self.metrics.cosigned_at.get_or_create(&labels(key)).set(cosignature.time.timestamp());
                cosigned += 1;
            }
        }
        self.metrics.cosigned.set(cosigned);
    }
}

impl run_loop::Step for Submitter {
    type Error = SubmitterError;

    async fn due(&mut self) {
        sleep_until(self.next_at).await;
    }

    async fn step(&mut self) -> Result<(), SubmitterError> {
        self.next_at = Instant::now() + self.interval;
        let parse = |note: &str| Checkpoint::unverified(note).ok_or(SubmitterError::NotACheckpoint);
        if let Some(note) = store::recent(&self.read_model, self.interval / 2).await? {
            self.show(&note, parse(&note)?.position);
            return Ok(());
        }
        let submitted_at = store::now(&self.read_model).await?;
        let (_, Some(note)) = transparency::head(&self.read_model).await? else { return Ok(()) };
        let checkpoint = parse(&note)?;
        let cosignatures = self.submit(&note, &checkpoint).await;
        let lines: String = cosignatures.iter().map(|cosignature| &*cosignature.line).collect();
        let cosigned = note + &lines;
        self.show(&cosigned, checkpoint.position);
        if cosignatures.len() >= self.quorum {
            store::store(&self.read_model, checkpoint.position, &cosigned, submitted_at).await?;
        }
        Ok(())
    }

    async fn observe(&mut self, outcome: Result<(), &SubmitterError>) {
        if outcome.is_err() {
            self.metrics.cosigned.set(0);
        }
    }

    fn report(&self, failure: Option<&SubmitterError>) {
        if let Some(reason) = failure {
            warn!(event.name = "witnesses.missing", %reason, "No checkpoint can be submitted to the witnesses; retrying");
        } else {
            info!(event.name = "witnesses.recovered", "Checkpoints are submitted to the witnesses again");
        }
    }
}

fn labels(key: &WitnessKey) -> Labels {
    Labels { witness: key.name().to_owned() }
}
