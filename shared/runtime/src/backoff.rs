//! Delays between retries.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

/// Reconnects promptly after a restart of a server.
const FIRST_DELAY: Duration = Duration::from_millis(20);
/// Does not burden a server that is down for hours, and notices its return.
const LONGEST_DELAY: Duration = Duration::from_secs(1);

/// Exponential delays up to a limit, with jitter so that replicas do not retry in step; without an end.
#[derive(Debug)]
pub struct Backoff(ExponentialBackoff);

impl Default for Backoff {
    fn default() -> Self {
        let delays = ExponentialBuilder::new()
            .with_min_delay(FIRST_DELAY)
            .with_max_delay(LONGEST_DELAY)
            .without_max_times()
            .with_jitter();
        Self(delays.build())
    }
}

impl Backoff {
    pub async fn wait(&mut self) {
        tokio::time::sleep(self.0.next().unwrap_or(LONGEST_DELAY)).await;
    }

    /// After a success: the next delay is short again.
    pub fn reset(&mut self) {
        *self = Self::default();
    }
}
