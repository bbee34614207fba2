//! The frame of every HTTP API: authorization, limits, problems for errors, request metrics.

use std::time::Duration;

use axum::{
    Router,
    extract::{MatchedPath, Request, State},
    http::{Method, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use bytes::Bytes;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{family::Family, histogram::Histogram},
    registry::{Registry, Unit},
};
use serde_json::Value;
use tokio::time::{Instant, timeout};
use tower_http::catch_panic::CatchPanicLayer;
use utoipa::openapi::OpenApi;

use crate::{
    access::{Access, guard},
    http::{body, problem::Problem},
    traces::RequestSpan,
};

/// The proxy and the pages give up at about the same time.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Adds the frame to an API. `service` names its OpenAPI document, which is served alongside the other `documents`.
pub fn api(
    service: &str,
    router: Router,
    documents: Router,
    openapi: &OpenApi,
    access: Access,
    registry: &mut Registry,
) -> Router {
    let latency = Latency::register(registry);
    let mut openapi = serde_json::to_value(openapi).expect("an OpenAPI document has only string keys");
    name_wildcards(&mut openapi);
    guard::describe(&mut openapi);
    let document = Bytes::from(openapi.to_string());
    let document = async move || ([(header::CONTENT_TYPE, "application/json")], document);
    let documents = documents.route(&format!("/docs/{service}.json"), get(document));
    guard::require_role(router, &openapi, access.clone())
        .merge(guard::for_operators(documents, access))
        .method_not_allowed_fallback(method_not_allowed)
        .fallback(not_found)
        .layer(CatchPanicLayer::custom(|_| Problem::internal().into_response()))
        .layer(middleware::from_fn(body::buffer_body))
        .layer(middleware::from_fn_with_state((latency, REQUEST_TIMEOUT), timeout_and_metrics))
}

/// OpenAPI has no wildcards: `{*name}`, which matches a path of several elements, becomes `{name}`. Its description says what it takes.
fn name_wildcards(openapi: &mut Value) {
    let paths = openapi["paths"].as_object_mut().expect("an OpenAPI document has paths");
    *paths = std::mem::take(paths).into_iter().map(|(path, item)| (guard::documented(&path), item)).collect();
}

async fn not_found(request: Request) -> Problem {
    let detail = format!("{} does not exist; /docs lists the endpoints.", request.uri().path());
    Problem::new(StatusCode::NOT_FOUND, "not-found", "Not found", detail)
}

pub(super) async fn method_not_allowed(request: Request) -> Problem {
    let detail = format!(
        "{} does not support {}; the Allow header lists what it supports.",
        request.uri().path(),
        request.method()
    );
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "Method not allowed", detail)
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Labels {
    method: &'static str,
    route: String,
    status: u16,
}

#[derive(Clone)]
struct Latency(Family<Labels, Histogram, fn() -> Histogram>);

impl Latency {
    fn register(registry: &mut Registry) -> Self {
        // From a read out of memory to the request timeout, about 2.5 times apart.
        let family = Family::new_with_constructor(
            (|| Histogram::new([0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5, 10.0]))
                as fn() -> Histogram,
        );
        let help = "Time from the arrival of a request to its answer";
        registry.register_with_unit("http_request_duration", help, Unit::Seconds, family.clone());
        Self(family)
    }
}

async fn timeout_and_metrics(
    State((Latency(latency), limit)): State<(Latency, Duration)>,
    mut request: Request,
    next: Next,
) -> Response {
    let started = Instant::now();
    // Only declared routes become labels: their number is bounded.
    let route = request.extensions().get::<MatchedPath>().map_or("other", MatchedPath::as_str).to_owned();
    let method = method_label(request.method());
    let span = RequestSpan::begin(&mut request, method, &route);
    let response = timeout(limit, next.run(request)).await.unwrap_or_else(|_| {
        Problem::unavailable("The request timed out. It may still take effect: retry it with the same Idempotency-Key.")
            .into_response()
    });
    let labels = Labels { method, route, status: response.status().as_u16() };
    latency.get_or_create(&labels).observe(started.elapsed().as_secs_f64());
    if let Some(span) = span {
        span.answered(response.status());
    }
    response
}

fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::DELETE => "DELETE",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use axum::body::Body;
    use hyper::service::Service;
    use hyper_util::service::TowerToHyperService;

    use super::*;

    #[tokio::test]
    async fn a_request_that_takes_too_long_is_answered_503() {
        let bounds = (Latency::register(&mut Registry::default()), Duration::from_millis(1));
        let router = Router::new().route("/", get(pending::<()>));
        let service =
            TowerToHyperService::new(router.layer(middleware::from_fn_with_state(bounds, timeout_and_metrics)));
        let answer = service.call(Request::get("/").body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(answer.headers()[header::RETRY_AFTER], "1");
        assert_eq!(answer.headers()[header::CONTENT_TYPE], "application/problem+json");
    }
}
