//! The loop of a background task: bounded iterations, backoff after a failure, one report per cause.

use std::{convert::Infallible, fmt::Display, future::Future, time::Duration};

use tokio::time::{error::Elapsed, timeout};
use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;

/// Upper bound for one iteration. Exceeds all inner timeouts, so reaching it means a peer stopped responding.
const ITERATION_TIMEOUT: Duration = Duration::from_secs(15);

/// The work of a task, one iteration at a time. Tests call the methods directly.
///
/// The loop drops the futures when the shutdown signal arrives or the iteration times out, at any await.
pub trait Step: Send {
    type Error: Display + From<Elapsed> + Send + Sync;

    /// Waits until the next iteration is due, however long that takes.
    fn due(&mut self) -> impl Future<Output = ()> + Send {
        async {}
    }

    /// One iteration.
    fn step(&mut self) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Updates metrics and state after each iteration.
    fn observe(&mut self, outcome: Result<(), &Self::Error>) -> impl Future<Output = ()> + Send;

    /// Whether a failure is part of normal operation: it is retried without a report.
    fn is_routine(&self, _: &Self::Error) -> bool {
        false
    }

    /// Logs why iterations fail, or with `None` that they succeed again.
    fn report(&self, failure: Option<&Self::Error>);
}

/// The cause that was reported last: each cause of a lasting failure is reported once, and so is its end.
#[derive(Debug, Default)]
pub struct Reported(Option<String>);

impl Reported {
    /// Takes note of a failure. Returns whether to report it, as its cause differs from the one before.
    pub fn failed(&mut self, cause: impl Display) -> bool {
        let cause = Some(cause.to_string());
        let is_news = self.0 != cause;
        self.0 = cause;
        is_news
    }

    /// Takes note of a success. Returns whether to report it, as a failure was reported.
    pub fn recovered(&mut self) -> bool {
        self.0.take().is_some()
    }
}

/// Runs iterations until the shutdown signal. A failure is reported when its cause differs from the one before.
pub async fn run_loop(task: &mut impl Step, stop: &CancellationToken) {
    stop.run_until_cancelled(Box::pin(iterate(task, ITERATION_TIMEOUT))).await;
}

async fn iterate(task: &mut impl Step, iteration_timeout: Duration) -> Infallible {
    let mut backoff = Backoff::default();
    let mut reported = Reported::default();
    loop {
        task.due().await;
        let outcome = timeout(iteration_timeout, task.step()).await.unwrap_or_else(|elapsed| Err(elapsed.into()));
        task.observe(outcome.as_ref().copied()).await;
        let Err(error) = outcome else {
            backoff.reset();
            if reported.recovered() {
                task.report(None);
            }
            continue;
        };
        if !task.is_routine(&error) && reported.failed(&error) {
            task.report(Some(&error));
        }
        backoff.wait().await;
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::VecDeque,
        future::pending,
        sync::{Mutex, PoisonError},
    };

    use super::*;

    #[derive(Clone, Copy)]
    enum Outcome {
        Success,
        Failure(&'static str),
        Hang,
    }

    /// Plays the outcomes, then stops the loop.
    struct Script {
        outcomes: VecDeque<Outcome>,
        stop: CancellationToken,
        reports: Mutex<Vec<String>>,
        observed: Vec<bool>,
    }

    #[derive(Debug, thiserror::Error)]
    enum ScriptError {
        #[error("{0}")]
        Failed(&'static str),
        #[error("timed out")]
        TimedOut(#[from] Elapsed),
    }

    impl Step for Script {
        type Error = ScriptError;

        async fn step(&mut self) -> Result<(), ScriptError> {
            match self.outcomes.pop_front() {
                Some(Outcome::Success) => Ok(()),
                Some(Outcome::Failure(cause)) => Err(ScriptError::Failed(cause)),
                Some(Outcome::Hang) => pending().await,
                None => {
                    self.stop.cancel();
                    pending().await
                }
            }
        }

        async fn observe(&mut self, outcome: Result<(), &ScriptError>) {
            self.observed.push(outcome.is_ok());
        }

        fn is_routine(&self, error: &ScriptError) -> bool {
            matches!(error, ScriptError::Failed("routine"))
        }

        fn report(&self, failure: Option<&ScriptError>) {
            let report = failure.map_or_else(|| "recovered".to_owned(), ToString::to_string);
            self.reports.lock().unwrap_or_else(PoisonError::into_inner).push(report);
        }
    }

    async fn reports(outcomes: &[Outcome]) -> Vec<String> {
        let stop = CancellationToken::new();
        let outcomes: VecDeque<_> = outcomes.iter().copied().collect();
        let expected: Vec<_> = outcomes.iter().map(|outcome| matches!(outcome, Outcome::Success)).collect();
        let mut script = Script { outcomes, stop: stop.clone(), reports: Mutex::default(), observed: Vec::new() };
        stop.run_until_cancelled(iterate(&mut script, Duration::from_millis(50))).await;
        assert_eq!(script.observed, expected);
        script.reports.into_inner().unwrap()
    }

    #[tokio::test]
    async fn each_cause_and_the_recovery_are_reported_once() {
        use Outcome::{Failure, Success};
        let outcomes =
            [Success, Failure("a"), Failure("a"), Failure("b"), Failure("b"), Success, Success, Failure("b")];
        assert_eq!(reports(&outcomes).await, ["a", "b", "recovered", "b"]);
    }

    #[tokio::test]
    async fn routine_failures_are_retried_without_a_report() {
        use Outcome::{Failure, Success};
        assert_eq!(reports(&[Failure("routine"), Success]).await, Vec::<String>::new());
        assert_eq!(reports(&[Failure("a"), Failure("routine"), Failure("a"), Success]).await, ["a", "recovered"]);
    }

    #[tokio::test]
    async fn an_iteration_that_hangs_times_out() {
        assert_eq!(reports(&[Outcome::Hang, Outcome::Success]).await, ["timed out", "recovered"]);
    }

    #[tokio::test]
    async fn the_shutdown_signal_ends_the_wait_between_retries() {
        let stop = CancellationToken::new();
        let outcomes = VecDeque::from(vec![Outcome::Failure("a"); 1_000_000]);
        let mut script = Script { outcomes, stop: stop.clone(), reports: Mutex::default(), observed: Vec::new() };
        let signal = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            stop.cancel();
        };
        tokio::join!(run_loop(&mut script, &stop), signal);
        assert_eq!(script.reports.into_inner().unwrap(), ["a"]);
    }
}
