//! The HTTP interface: which endpoint answers which path.

use std::sync::Arc;

use axum::Router;
use prometheus_client::registry::Registry;
use runtime::http;
use utoipa::OpenApi;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    events::{checkpoint, get as event, list, proofs},
    history, latest,
    purchases::{license_key, receipt},
    session::{current, oidc::SignIn, sign_in},
    sources::Sources,
    totals::{client, get as current_money, stream},
};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Sales: queries",
        description = "Number of sales and revenue: now, as of earlier times, and over time; the newest purchases; receipts and licence keys; and the event log. Errors are problem+json (RFC 9457)."
    ),
    components(schemas(client::Age))
)]
struct Document;

pub fn router(sources: Sources, sign_in: SignIn, registry: &mut Registry) -> Router {
    let access = sign_in.access.clone();
    let (router, openapi) = OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(current_money::get_current_money))
        .routes(routes!(stream::get_sales_stream))
        .routes(routes!(history::get::get_sales_history))
        .routes(routes!(latest::get::get_latest_sales))
        .routes(routes!(receipt::get_purchase))
        .routes(routes!(license_key::get_license_key))
        .routes(routes!(license_key::get_public_keys))
        .routes(routes!(list::get_events))
        .routes(routes!(event::get_event))
        .routes(routes!(checkpoint::get_checkpoint))
        .routes(routes!(proofs::get_inclusion_proof))
        .routes(routes!(proofs::get_consistency_proof))
        .with_state(Arc::new(sources))
        .merge(
            OpenApiRouter::new()
                .routes(routes!(current::get_session, current::create_session, current::end_session))
                .routes(routes!(sign_in::start_sign_in))
                .routes(routes!(sign_in::finish_sign_in))
                .with_state(Arc::new(sign_in)),
        )
        .split_for_parts();
    http::api::api("query-api", router, Router::new(), &openapi, access, registry)
}
