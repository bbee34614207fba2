//! Health and metrics, for operators, engines and the proxy.

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

use super::problem::Problem;
use crate::{
    access::{Access, guard},
    process_metrics::{self, Readiness},
};

/// What operators and the proxy ask of every process: does it live, can it do its job, and, for operators alone, what does it count.
pub fn operations(registry: Registry, readiness: Readiness, started: Arc<AtomicBool>, access: Access) -> Router {
    let (registry, process) = (Arc::new(registry), Arc::new(process_metrics::standard_metrics()));
    let why = Arc::clone(&readiness);
    let router = Router::new()
        .route("/livez", get(async || "alive\n"))
        // For engines, which replace what is not healthy: once it has started, no other process could do more than this one.
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
        // The proxy asks for them when it refuses something itself (`too-large`, `too-many` in its configuration).
        .route("/problems/413", get(async || Problem::body_too_large()))
        .route("/problems/429", get(async || Problem::too_many_requests()))
        .route(
            "/metrics",
            get(async move || {
                let mut text = String::new();
                for registry in [&*registry, &*process] {
                    encode_registry(&mut text, registry).expect("a string takes whatever is written");
                }
                encode_eof(&mut text).expect("a string takes whatever is written");
                let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
                ([(header::CONTENT_TYPE, content_type)], text)
            }),
        );
    guard::for_operators(router, access)
}
