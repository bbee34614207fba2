//! What every HTTP interface has in common: bounds, problems for whatever goes wrong, health and metrics.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{DefaultBodyLimit, MatchedPath, Request, State},
    http::{Method, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use bytes::Bytes;
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{family::Family, histogram::Histogram},
    registry::{Registry, Unit},
};
use tokio::time::{Instant, timeout};
use tower_http::catch_panic::CatchPanicLayer;
use utoipa::openapi::OpenApi;

use crate::problem::Problem;

/// The largest body that any request has a use for is some hundred bytes long.
pub const BODY_LIMIT_BYTES: usize = 16 * 1024;
/// A request that takes longer has lost its reader: the proxy and the pages give up at about the same time.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Says whether the process can do its job, or else why not.
pub type Readiness = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// Puts an API into its frame. `service` names the OpenAPI document, which is served with it.
pub fn api(service: &str, router: Router, openapi: &OpenApi, registry: &mut Registry) -> Router {
    let latency = Latency::register(registry);
    let document = Bytes::from(openapi.to_json().expect("an OpenAPI document has only string keys"));
    let document = async move || ([(header::CONTENT_TYPE, "application/json")], document);
    router
        .route(&format!("/docs/{service}.json"), get(document))
        .method_not_allowed_fallback(method_not_allowed)
        .fallback(not_found)
        .layer(DefaultBodyLimit::max(BODY_LIMIT_BYTES))
        .layer(CatchPanicLayer::custom(|_| Problem::internal().into_response()))
        .layer(middleware::from_fn_with_state(latency, bound_and_measure))
}

/// What operators ask of every process: does it live, can it do its job, what does it count.
pub fn operations(registry: Registry, readiness: Readiness) -> Router {
    let registry = Arc::new(registry);
    Router::new()
        .route("/livez", get(async || "alive\n"))
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
                encode(&mut text, &registry).expect("a string takes whatever is written");
                ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text)
            }),
        )
}

async fn not_found(request: Request) -> Problem {
    let detail = format!("There is nothing at {}; /docs lists what there is.", request.uri().path());
    Problem::new(StatusCode::NOT_FOUND, "not-found", "There is nothing here", detail)
}

async fn method_not_allowed(request: Request) -> Problem {
    let detail =
        format!("{} does not take {}; the Allow header says what it does.", request.uri().path(), request.method());
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "The method is not allowed here", detail)
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
        // From a read out of memory to the request time limit, about 2.5 times apart.
        let family = Family::new_with_constructor(
            (|| Histogram::new([0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5, 10.0]))
                as fn() -> Histogram,
        );
        let help = "Time from the arrival of a request to its answer";
        registry.register_with_unit("http_request_duration", help, Unit::Seconds, family.clone());
        Self(family)
    }
}

async fn bound_and_measure(State(Latency(latency)): State<Latency>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    // Only names that we gave ourselves become labels: their number is bounded.
    let route = request.extensions().get::<MatchedPath>().map_or("other", MatchedPath::as_str).to_owned();
    let method = method_label(request.method());
    let response = timeout(REQUEST_TIMEOUT, next.run(request)).await.unwrap_or_else(|_| {
        Problem::unavailable(
            "The request took too long. It may still take effect: repeat it with the same Idempotency-Key.",
        )
        .into_response()
    });
    let labels = Labels { method, route, status: response.status().as_u16() };
    latency.get_or_create(&labels).observe(started.elapsed().as_secs_f64());
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
