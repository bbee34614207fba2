//! The HTTP interface: which endpoint answers which path.

use std::sync::Arc;

use axum::Router;
use prometheus_client::registry::Registry;
use runtime::http;
use utoipa::{
    OpenApi,
    openapi::{OpenApi as Description, security::SecurityRequirement},
};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    events::{checkpoint, cosigned, get as event, list, proofs, statements},
    history, latest,
    purchases::{license_key, receipt},
    session::{current, oidc::SignIn, sign_in},
    sources::Sources,
    tiled_log::{self, checkpoint as log_checkpoint, entries, hashes, key as log_key},
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
    let is_public = sources.log.public_log;
    let (router, mut openapi) = OpenApiRouter::with_openapi(Document::openapi())
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
        .routes(routes!(cosigned::get_cosigned_checkpoint))
        .routes(routes!(statements::get_statements))
        .routes(routes!(proofs::get_inclusion_proof))
        .routes(routes!(proofs::get_consistency_proof))
        .routes(routes!(log_checkpoint::get_log_checkpoint))
        .routes(routes!(hashes::get_tile))
        .routes(routes!(entries::get_entries))
        .routes(routes!(log_key::get_log_key))
        .with_state(Arc::new(sources))
        .merge(
            OpenApiRouter::new()
                .routes(routes!(current::get_session, current::create_session, current::end_session))
                .routes(routes!(sign_in::start_sign_in))
                .routes(routes!(sign_in::finish_sign_in))
                .with_state(Arc::new(sign_in)),
        )
        .split_for_parts();
    if is_public {
        open_log(&mut openapi);
    }
    http::api::api("query-api", router, Router::new(), &openapi, access, registry)
}

/// Declares the endpoints of a public log as open to every caller. The guard enforces the declaration, and the document shows it.
fn open_log(openapi: &mut Description) {
    for path in tiled_log::PUBLIC {
        let item = openapi.paths.paths.get_mut(path);
        let operation = item.and_then(|item| item.get.as_mut()).unwrap_or_else(|| panic!("{path} is not an endpoint"));
        operation.security = Some(vec![SecurityRequirement::default()]);
    }
}
