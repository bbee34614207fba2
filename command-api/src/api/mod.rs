//! The HTTP interface of the write side.

use axum::{Router, http::header, routing::get};
use contract::ASYNCAPI;
use prometheus_client::registry::Registry;
use runtime::{
    access::Access,
    http::{self, problem::Problem},
};
use utoipa::OpenApi;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::writer::{AppendError, WriterHandle};

pub mod buy_mpi;
pub mod reset_sales;

#[derive(OpenApi)]
#[openapi(info(
    title = "Sales: commands",
    description = "Buys licences and resets the sales. Every error is a problem+json (RFC 9457). An `Idempotency-Key` \
                   makes a command safe to repeat, at any later time."
))]
struct Document;

pub fn router(log: WriterHandle, access: Access, registry: &mut Registry) -> Router {
    let (router, openapi) = OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(buy_mpi::buy_mpi))
        .routes(routes!(reset_sales::reset_sales))
        .with_state(log)
        .split_for_parts();
    // command-api publishes the events, so it serves their description.
    let events = get(async || ([(header::CONTENT_TYPE, "application/json")], ASYNCAPI));
    let documents = Router::new().route("/docs/events.json", events);
    http::api::api("command-api", router, documents, &openapi, access, registry)
}

impl From<AppendError> for Problem {
    fn from(error: AppendError) -> Self {
        let advice = match error {
            AppendError::QueueFull | AppendError::Unavailable => "Nothing was stored; retry.",
            AppendError::OutcomeUnknown => "Retry with the same Idempotency-Key: the command takes effect only once.",
            AppendError::OutsideOfLog => {
                "It does not count, and there is no receipt for it. An operator has to examine the event store."
            }
        };
        let mut detail = error.to_string();
        detail[..1].make_ascii_uppercase();
        Self::unavailable(format!("{detail}. {advice}"))
    }
}

/// This version cannot compare the stored command with the new one. A new key would buy a second time.
fn stored_by_a_newer_version() -> Problem {
    Problem::unavailable(
        "The event of this Idempotency-Key was stored by a newer version of this service. Retry with the same key.",
    )
}

/// The key has been used for another command.
fn key_reused() -> Problem {
    Problem::new(
        axum::http::StatusCode::UNPROCESSABLE_ENTITY,
        "idempotency-key-reused",
        "The Idempotency-Key belongs to another command",
        "This Idempotency-Key was used for a different request. Use a new key for a new command.",
    )
}
