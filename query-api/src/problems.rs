//! Problems that several endpoints answer with.

use event_log::{ReadError, transparency};
use runtime::{http::problem::Problem, log_limits::Sampler};
use tracing::error;

pub fn invalid_query(detail: impl Into<String>) -> Problem {
    Problem::bad_request("invalid-query", "Invalid query parameters", detail)
}

pub fn event_store(error: impl Into<ReadError>) -> Problem {
    static LIMITS: Limits = Limits::new();
    let error = error.into();
    if let Some(left_out) = LIMITS.of(error.is_integrity_violation()).admit() {
        error!(%error, left_out, "The event log cannot be read");
    }
    if error.is_integrity_violation() {
        Problem::internal()
    } else {
        Problem::unavailable("The event store does not answer. Try again.")
    }
}

pub fn read_model(error: &sqlx::Error) -> Problem {
    static LIMITS: Limits = Limits::new();
    let is_damaged = matches!(error, sqlx::Error::Decode(_) | sqlx::Error::ColumnDecode { .. });
    if let Some(left_out) = LIMITS.of(is_damaged).admit() {
        error!(%error, left_out, "The read model cannot be read");
    }
    if is_damaged { Problem::internal() } else { Problem::unavailable("The read model does not answer. Try again.") }
}

pub fn transparency_log(error: impl Into<transparency::ReadError>) -> Problem {
    static LIMITS: Limits = Limits::new();
    let error = error.into();
    let is_damaged = matches!(error, transparency::ReadError::Tile(_));
    if let Some(left_out) = LIMITS.of(is_damaged).admit() {
        error!(%error, left_out, "The transparency log cannot be read");
    }
    if is_damaged { Problem::internal() } else { Problem::unavailable("The read model does not answer. Try again.") }
}

/// Of outages and of integrity violations, so that neither suppresses the log lines of the other.
struct Limits {
    outages: Sampler,
    violations: Sampler,
}

impl Limits {
    const fn new() -> Self {
        Self { outages: Sampler::new(), violations: Sampler::new() }
    }

    const fn of(&self, is_integrity_violation: bool) -> &Sampler {
        if is_integrity_violation { &self.violations } else { &self.outages }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_does_not_suppress_the_log_line_of_an_integrity_violation() {
        let limits = Limits::new();
        assert_eq!([false, true].map(|is_violation| limits.of(is_violation).admit()), [Some(0), Some(0)]);
    }
}
