//! How long to wait before trying again.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

/// Short enough that a restarted server is found at once.
const FIRST_DELAY: Duration = Duration::from_millis(20);
/// Long enough that a server which is down for hours is not pestered, short enough that nobody waits for its return.
const LONGEST_DELAY: Duration = Duration::from_secs(1);

/// Delays that double up to a bound, with jitter so that replicas do not return in step; without an end.
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

    /// It worked: the next wait is a short one again.
    pub fn reset(&mut self) {
        *self = Self::default();
    }
}
