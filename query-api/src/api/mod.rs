//! The HTTP interface of the read side.

use std::sync::Arc;

use axum::Router;
use prometheus_client::registry::Registry;
use shared::{event_log::ReadError, http, problem::Problem};
use sqlx::PgPool;
use tokio::sync::Semaphore;
use tracing::error;
use utoipa::OpenApi;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::totals::Watch;

pub mod events;
pub mod get_current_money;
pub mod purchases;

/// Requests that may wait for a position at the same time; each holds a connection and little memory.
const MAX_WAITING: usize = 1000;

#[derive(OpenApi)]
#[openapi(info(
    title = "Sales: queries",
    description = "Number of sales and revenue, receipts, and the event log. Every error is a problem+json (RFC 9457)."
))]
struct Document;

/// Where the answers come from.
#[derive(Clone)]
pub struct Sources {
    event_store: PgPool,
    totals: Watch,
    waiting: Arc<Semaphore>,
}

impl Sources {
    pub fn new(event_store: PgPool, totals: Watch) -> Self {
        Self { event_store, totals, waiting: Arc::new(Semaphore::new(MAX_WAITING)) }
    }
}

pub fn router(sources: Sources, registry: &mut Registry) -> Router {
    let (router, openapi) = OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(get_current_money::get_current_money))
        .routes(routes!(purchases::get_purchase))
        .routes(routes!(events::get_events))
        .with_state(sources)
        .split_for_parts();
    http::api("query-api", router, &openapi, registry)
}

fn log_problem(error: &ReadError) -> Problem {
    error!(%error, "The event log cannot be read");
    if error.is_alarm() {
        Problem::internal()
    } else {
        Problem::unavailable("The event store does not answer. Try again.")
    }
}
