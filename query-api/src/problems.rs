//! Problems that several endpoints answer with.

use event_log::{ReadError, transparency};
use runtime::{http::problem::Problem, log_limits::Sampler};
use tracing::error;

pub fn invalid_query(detail: impl Into<String>) -> Problem {
    Problem::bad_request("invalid-query", "Invalid query parameters", detail)
}

pub fn event_store(error: impl Into<ReadError>) -> Problem {
    static SAMPLER: Sampler = Sampler::new();
    let error = error.into();
    if let Some(left_out) = SAMPLER.admit() {
        error!(%error, left_out, "The event log cannot be read");
    }
    if error.is_integrity_violation() {
        Problem::internal()
    } else {
        Problem::unavailable("The event store does not answer. Try again.")
    }
}

pub fn read_model(error: &sqlx::Error) -> Problem {
    static SAMPLER: Sampler = Sampler::new();
    if let Some(left_out) = SAMPLER.admit() {
        error!(%error, left_out, "The read model cannot be read");
    }
    match error {
        sqlx::Error::Decode(_) | sqlx::Error::ColumnDecode { .. } => Problem::internal(),
        _ => Problem::unavailable("The read model does not answer. Try again."),
    }
}

pub fn transparency_log(error: impl Into<transparency::ReadError>) -> Problem {
    static SAMPLER: Sampler = Sampler::new();
    let error = error.into();
    if let Some(left_out) = SAMPLER.admit() {
        error!(%error, left_out, "The transparency log cannot be read");
    }
    match error {
        transparency::ReadError::Database(_) => Problem::unavailable("The read model does not answer. Try again."),
        transparency::ReadError::Tile(_) => Problem::internal(),
    }
}
