//! Background tasks of a service.

use std::{future::Future, time::Duration};

use anyhow::{Context, anyhow};
use tokio::{task::JoinSet, time::timeout};
use tokio_util::sync::CancellationToken;

/// Tasks stop at their next wait, after at most one statement.
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// The work alongside the HTTP server. A task that exits before the shutdown ends the process, because no other task
/// would do its work.
#[derive(Default)]
pub struct Tasks {
    running: JoinSet<anyhow::Result<()>>,
    drain: CancellationToken,
    stop: CancellationToken,
}

impl Tasks {
    /// Cancelled when open-ended responses have to end, and no more requests are accepted.
    pub fn drain_token(&self) -> CancellationToken {
        self.drain.clone()
    }

    /// Starts a task with the token that is cancelled when it has to stop.
    pub fn spawn<F>(&mut self, name: &'static str, task: impl FnOnce(CancellationToken) -> F)
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let task = task(self.stop.clone());
        self.running.spawn(async move { task.await.with_context(|| format!("task {name}")) });
    }

    /// Returns when the first task exits, with the reason.
    pub(crate) async fn first_exit(&mut self) -> anyhow::Error {
        match self.running.join_next().await {
            None => std::future::pending().await,
            Some(Ok(Ok(()))) => anyhow!("a background task exited unexpectedly"),
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
        timeout(STOP_LIMIT, all).await.context("a background task did not stop in time")?
    }
}
