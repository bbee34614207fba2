//! The relay: publishes committed events on JetStream in position order, so that stream sequence equals position.
//!
//! Every message names the sequence that must be the last of the stream. The stream rejects a second relay, a retry or a
//! relay presumed dead; that relay reads the end of the stream and continues from there. So any number of relays may run
//! without an election, and a stream that was wiped, fell behind or lacks messages is refilled from the log.
//!
//! - [`publisher`]: one batch at a time; [`comparison`]: whether the stream holds the log
//! - [`metrics`]: lag and divergence

use std::{sync::Arc, time::Duration};

use runtime::{
    nats,
    run_loop::{self, run_loop},
};
use sqlx::PgPool;
use tokio::time::{Interval, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::handoff::HandoffBuffer;

pub mod comparison;
pub mod metrics;
pub mod publisher;

use metrics::Metrics;
use publisher::{MAX_BATCH, NewStream, Publisher, RelayError};

/// Minimum interval between two batches, so that the work per batch covers more events. A purchase after a pause is published
/// immediately.
const MIN_BATCH_INTERVAL: Duration = Duration::from_millis(5);
/// How often the relay polls without a notification, in case another replica died between its commit and its publication, or
/// the stream was wiped.
const FALLBACK_POLL_INTERVAL: Duration = Duration::from_secs(1);
/// Messages that the stream keeps for consumers that were offline. Older events are read from the log.
const STREAM_MAX_MESSAGES: i64 = 1_000_000;

/// Keeps the stream up to date until stopped.
pub async fn run(
    pool: PgPool,
    nats_url: String,
    streams: nats::Settings,
    handoff: Arc<HandoffBuffer>,
    metrics: Metrics,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let client = nats::connect(&nats_url, "command-api").await?;
    let new_stream = NewStream { max_messages: STREAM_MAX_MESSAGES, settings: streams };
    let publisher = Publisher::new(pool, client, Arc::clone(&handoff), new_stream, metrics);
    let mut batch_interval = interval(MIN_BATCH_INTERVAL);
    batch_interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    run_loop(&mut Publishing { publisher, handoff, batch_interval, idle: false }, &stop).await;
    Ok(())
}

/// The publisher as a task, which the writer wakes.
struct Publishing {
    publisher: Publisher,
    handoff: Arc<HandoffBuffer>,
    batch_interval: Interval,
    /// The last iteration published everything.
    idle: bool,
}

impl run_loop::Step for Publishing {
    type Error = RelayError;

    async fn due(&mut self) {
        let wait = self.idle && self.handoff.is_empty();
        if wait && timeout(FALLBACK_POLL_INTERVAL, self.handoff.changed()).await.is_err() {
            self.publisher.forget();
        }
        self.batch_interval.tick().await;
    }

    async fn step(&mut self) -> Result<(), RelayError> {
        self.idle = false;
        self.idle = self.publisher.publish_next().await? < MAX_BATCH;
        self.publisher.refill_if_incomplete().await?;
        Ok(())
    }

    async fn observe(&mut self, outcome: Result<(), &RelayError>) {
        if outcome.is_err_and(|error| !self.is_routine(error)) {
            self.publisher.observe_lag().await;
        }
    }

    fn is_routine(&self, error: &RelayError) -> bool {
        matches!(error, RelayError::WrongLastSequence)
    }

    fn report(&self, failure: Option<&RelayError>) {
        match failure {
            Some(error @ RelayError::Diverged { stream, log }) => {
                warn!(
                    event.name = "relay.diverged",
                    stream.position = stream.get(),
                    log.position = log.get(),
                    %error,
                    "The relay cannot publish"
                );
            }
            Some(error) => {
                warn!(event.name = "relay.failed", %error, "The relay cannot publish; retrying while purchases continue");
            }
            None => info!(event.name = "relay.recovered", "The relay has recovered"),
        }
    }
}
