//! The HTTP interface of the read side.

use std::sync::Arc;

use axum::{Router, http::HeaderName};
use event_log::ReadError;
use prometheus_client::registry::Registry;
use runtime::http::{self, problem::Problem};
use sqlx::PgPool;
use tokio::sync::Semaphore;
use tracing::error;
use utoipa::OpenApi;
use utoipa_axum::{router::OpenApiRouter, routes};

use self::sales_stream::Streams;
use crate::{license_key::LicenseSigner, sign_in::SignIn, totals::Watch};

pub mod checkpoint;
pub mod consistency_proof;
mod etag;
pub mod event;
pub mod events;
mod export;
pub mod get_current_money;
pub mod inclusion_proof;
pub mod latest_sales;
pub mod license_key;
pub mod purchases;
pub mod sales_history;
pub mod sales_stream;
pub mod session;
pub mod sign_in;
mod time;

/// The log position that an answer reflects, where its body has no place for it.
const POSITION: HeaderName = HeaderName::from_static("sales-position");

/// Requests that may wait for a position at the same time; each holds a connection and little memory.
const MAX_WAITING: usize = 1000;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Sales: queries",
        description = "Number of sales and revenue, now, then and over time; receipts and licence keys; and the event log. Every error is a problem+json (RFC 9457)."
    ),
    components(schemas(sales_stream::Age))
)]
struct Document;

/// Where the answers come from. One for all requests, which would otherwise contend for the counts of its parts.
pub struct Sources {
    event_store: PgPool,
    read_model: PgPool,
    totals: Watch,
    waiting: Semaphore,
    exports: Arc<Semaphore>,
    past: Semaphore,
    streams: Streams,
    license_signer: Option<LicenseSigner>,
}

impl Sources {
    pub fn new(
        event_store: PgPool,
        read_model: PgPool,
        totals: Watch,
        streams: Streams,
        license_signer: Option<LicenseSigner>,
    ) -> Self {
        Self {
            event_store,
            read_model,
            totals,
            waiting: Semaphore::new(MAX_WAITING),
            exports: Arc::new(Semaphore::new(export::MAX_EXPORTS)),
            past: Semaphore::new(get_current_money::MAX_PAST),
            streams,
            license_signer,
        }
    }
}

#[cfg(test)]
impl Sources {
    /// Where databases would be, nobody answers.
    fn without_databases(totals: Watch) -> Self {
        let nobody = || sqlx::postgres::PgPoolOptions::new().connect_lazy("postgres://nobody@127.0.0.1:1/nothing");
        let streams = Streams::new(tokio_util::sync::CancellationToken::new(), &mut Registry::default());
        Self::new(nobody().unwrap(), nobody().unwrap(), totals, streams, None)
    }
}

pub fn router(sources: Sources, sign_in: SignIn, registry: &mut Registry) -> Router {
    let access = sign_in.access.clone();
    let (router, openapi) = OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(get_current_money::get_current_money))
        .routes(routes!(sales_stream::get_sales_stream))
        .routes(routes!(sales_history::get_sales_history))
        .routes(routes!(latest_sales::get_latest_sales))
        .routes(routes!(purchases::get_purchase))
        .routes(routes!(license_key::get_license_key))
        .routes(routes!(license_key::get_public_keys))
        .routes(routes!(events::get_events))
        .routes(routes!(event::get_event))
        .routes(routes!(checkpoint::get_checkpoint))
        .routes(routes!(inclusion_proof::get_inclusion_proof))
        .routes(routes!(consistency_proof::get_consistency_proof))
        .with_state(Arc::new(sources))
        .merge(
            OpenApiRouter::new()
                .routes(routes!(session::get_session, session::create_session, session::end_session))
                .routes(routes!(sign_in::start_sign_in))
                .routes(routes!(sign_in::finish_sign_in))
                .with_state(Arc::new(sign_in)),
        )
        .split_for_parts();
    http::api::api("query-api", router, Router::new(), &openapi, access, registry)
}

fn log_problem(error: &ReadError) -> Problem {
    error!(%error, "The event log cannot be read");
    if error.is_alarm() {
        Problem::internal()
    } else {
        Problem::unavailable("The event store does not answer. Try again.")
    }
}
