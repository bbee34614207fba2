//! When a fault ends.

use std::time::Duration;

use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

/// How long a fault lasts: longer if its alarm takes longer, but no longer than that may take.
pub struct Lasting<'a> {
    pub least: Duration,
    pub alarm: Option<(&'a CancellationToken, Duration)>,
}

impl Lasting<'_> {
    pub async fn pass(&self) {
        sleep(self.least).await;
        if let Some((raised, within)) = self.alarm {
            let _ = timeout(within.saturating_sub(self.least), raised.cancelled()).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_fault_lasts_until_its_alarm_is_raised() {
        let raised = CancellationToken::new();
        let never = Duration::from_hours(1);
        let lasting = Lasting { least: Duration::ZERO, alarm: Some((&raised, never)) };
        assert!(timeout(Duration::from_millis(50), lasting.pass()).await.is_err());
        raised.cancel();
        lasting.pass().await;
        Lasting { least: Duration::ZERO, alarm: Some((&CancellationToken::new(), Duration::ZERO)) }.pass().await;
    }
}
