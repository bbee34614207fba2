//! Health and metrics, for operators, container engines and the proxy.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use axum::{
    Router,
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use prometheus_client::{
    encoding::text::{encode_eof, encode_registry},
    registry::Registry,
};

use super::api::method_not_allowed;
use crate::{
    access::{Access, guard},
    process_metrics::{self, Readiness},
};

/// Liveness, startup and readiness for every caller; metrics for operators.
pub fn operations(registry: Registry, readiness: Readiness, started: Arc<AtomicBool>, access: Access) -> Router {
    let (registry, process) = (Arc::new(registry), Arc::new(process_metrics::standard_metrics()));
    let why = Arc::clone(&readiness);
    let router = Router::new()
        .route("/livez", get(async || "alive\n"))
        // For container engines, which replace unhealthy services: once started, a replacement would do no better.
        .route(
            "/startupz",
            get(async move || match why() {
                Err(reason) if !started.load(Ordering::Relaxed) => {
                    (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response()
                }
                _ => "started\n".into_response(),
            }),
        )
        .route(
            "/readyz",
            get(async move || match readiness() {
                Ok(()) => "ready\n".into_response(),
                Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response(),
            }),
        )
        .route(
            "/metrics",
            get(async move || {
                let mut text = String::new();
                for registry in [&*registry, &*process] {
                    encode_registry(&mut text, registry).expect("writing to a string succeeds");
                }
                encode_eof(&mut text).expect("writing to a string succeeds");
                let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
                ([(header::CONTENT_TYPE, content_type)], text)
            }),
        )
        .method_not_allowed_fallback(method_not_allowed);
    guard::for_operators(router, access)
}
