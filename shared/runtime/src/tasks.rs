//! Background tasks of a service, and how they are stopped.

use std::{future::Future, time::Duration};

use anyhow::{Context, anyhow};
use tokio::{task::JoinSet, time::timeout};
use tokio_util::sync::CancellationToken;

/// Tasks stop at their next wait, after at most one statement.
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// The work that goes on beside answering requests. A task that ends before it was told to ends the process, since
/// nobody else would do its work.
#[derive(Default)]
pub struct Tasks {
    running: JoinSet<anyhow::Result<()>>,
    drain: CancellationToken,
    stop: CancellationToken,
}

impl Tasks {
    /// Tells a task when to stop.
    pub fn stop_token(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Tells answers that go on for as long as their reader likes when to end: no other requests are taken then either.
    pub fn drain_token(&self) -> CancellationToken {
        self.drain.clone()
    }

    pub fn spawn(&mut self, name: &'static str, task: impl Future<Output = anyhow::Result<()>> + Send + 'static) {
        self.running.spawn(async move { task.await.with_context(|| format!("task {name}")) });
    }

    /// Returns when the first task has ended, with the reason.
    pub(crate) async fn first_to_end(&mut self) -> anyhow::Error {
        match self.running.join_next().await {
            None => std::future::pending().await,
            Some(Ok(Ok(()))) => anyhow!("a task ended although nobody told it to"),
            Some(Ok(Err(error))) => error,
            Some(Err(panic)) => panic.into(),
        }
    }

    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        self.stop.cancel();
        let all = async {
            while let Some(ended) = self.running.join_next().await {
                ended??;
            }
            Ok(())
        };
        timeout(STOP_LIMIT, all).await.context("a task did not stop in time")?
    }
}
