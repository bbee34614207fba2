//! OpenTelemetry traces, if `OTEL_EXPORTER_OTLP_ENDPOINT` is set; otherwise tracing costs a check of a flag.
//!
//! A trace starts with a request, or at its sender (W3C Trace Context). The event carries the request's span in its metadata,
//! and on NATS in the header `traceparent`, so that later processing joins the same trace in any process.
//! A step that processes a batch becomes a span of each sampled event.

use std::{fmt, sync::OnceLock, time::Duration, time::SystemTime};

use anyhow::Context as _;
use axum::{
    extract::Request,
    http::{HeaderMap, HeaderValue, StatusCode},
};
use bytes::Bytes;
use clap::Args;
use opentelemetry::{
    Context, KeyValue,
    propagation::{Extractor, TextMapPropagator},
    trace::{Span as _, SpanContext, Status, TraceContextExt, TraceFlags, Tracer, TracerProvider},
};
use opentelemetry_http::{HeaderExtractor, HttpClient, HttpError};
use opentelemetry_otlp::{SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::{
    Resource,
    propagation::TraceContextPropagator,
    trace::{SdkTracer, SdkTracerProvider, Span},
};
use tokio::{runtime::Handle, task::spawn_blocking};
use tracing::{info, warn};

pub use opentelemetry::trace::SpanKind;

use contract::recorded_event::RecordedEvent;

/// W3C Trace Context, as a header over HTTP and on NATS.
pub const TRACEPARENT: &str = "traceparent";
/// The standard's default. Only the shutdown waits for it.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(10);
/// At shutdown, unsent spans are dropped after this time.
const FLUSH_LIMIT: Duration = Duration::from_secs(3);

/// Settings of the traces.
#[derive(Args, Clone, Debug)]
#[group(skip)]
pub struct Settings {
    /// Collector of traces (OTLP over HTTP), such as `http://collector:4318`; without it, tracing is off. Further OpenTelemetry
    /// variables apply: `OTEL_TRACES_SAMPLER` (such as `parentbased_traceidratio`), `OTEL_TRACES_SAMPLER_ARG`,
    /// `OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_EXPORTER_OTLP_HEADERS`, `OTEL_BSP_MAX_QUEUE_SIZE`.
    #[arg(long, env)]
    pub otel_exporter_otlp_endpoint: Option<String>,
}

/// Set once at startup if tracing is on.
static TRACES: OnceLock<Traces> = OnceLock::new();

#[derive(Debug)]
struct Traces {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
}

/// Turns tracing on if a collector is configured.
pub fn start(service: &'static str, settings: &Settings) -> anyhow::Result<()> {
    let Some(endpoint) = settings.otel_exporter_otlp_endpoint.as_deref().filter(|endpoint| !endpoint.is_empty()) else {
        return Ok(());
    };
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(Client {
            http: reqwest::Client::builder().timeout(EXPORT_TIMEOUT).build()?,
            runtime: Handle::current(),
        })
        .with_endpoint(format!("{}/v1/traces", endpoint.trim_end_matches('/')))
        .build()
        .context("OTEL_EXPORTER_OTLP_ENDPOINT is invalid")?;
    let mut resource = Resource::builder();
    if std::env::var_os("OTEL_SERVICE_NAME").is_none() {
        resource = resource.with_service_name(service);
    }
    let resource = resource.with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION"))).build();
    let provider = SdkTracerProvider::builder().with_resource(resource).with_batch_exporter(exporter).build();
    let tracer = provider.tracer("sales");
    TRACES.set(Traces { provider, tracer }).ok().context("traces are started once")?;
    info!(endpoint, "Sending traces");
    Ok(())
}

/// Sends the remaining spans at shutdown.
pub async fn flush() {
    let Some(Traces { provider, .. }) = TRACES.get() else { return };
    // The provider blocks on its thread, which needs the runtime to send.
    let flushed = spawn_blocking(move || provider.shutdown_with_timeout(FLUSH_LIMIT)).await;
    if let Ok(Err(error)) = flushed {
        warn!(%error, "The last spans were not sent");
    }
}

fn tracer() -> Option<&'static SdkTracer> {
    TRACES.get().map(|traces| &traces.tracer)
}

/// The span of a sampled request. It ends when dropped.
#[derive(Debug)]
pub struct RequestSpan(Span);

impl RequestSpan {
    /// Begins the span of a request in the trace of its sender, and replaces the request's `traceparent`: effects of the
    /// request become children of this span. A request that is not sampled is unchanged.
    pub fn begin(request: &mut Request, method: &'static str, route: &str) -> Option<Self> {
        let tracer = tracer()?;
        let parent =
            TraceContextPropagator::new().extract_with_context(&Context::new(), &HeaderExtractor(request.headers()));
        let span = tracer
            .span_builder(format!("{method} {route}"))
            .with_kind(SpanKind::Server)
            .with_attributes([
                KeyValue::new("http.request.method", method),
                KeyValue::new("http.route", route.to_owned()),
            ])
            .start_with_context(tracer, &parent);
        if !span.span_context().is_sampled() {
            return None;
        }
        let traceparent = HeaderValue::try_from(traceparent(span.span_context())).expect("digits and hyphens");
        request.headers_mut().insert(TRACEPARENT, traceparent);
        Some(Self(span))
    }

    pub fn answered(mut self, status: StatusCode) {
        self.0.set_attribute(KeyValue::new("http.response.status_code", i64::from(status.as_u16())));
        if status.is_server_error() {
            self.0.set_attribute(KeyValue::new("error.type", status.as_str().to_owned()));
            self.0.set_status(Status::error(""));
        }
    }
}

/// The `traceparent` of a request, if it is a valid one of version 00, with the known flags. Others are ignored, as the
/// specification requires.
pub fn requested(headers: &HeaderMap) -> Option<String> {
    const FLAGS: usize = 53;
    let value = headers.get(TRACEPARENT)?.to_str().ok()?;
    let parsed = traceparent(parent(value)?.span().span_context());
    (value.len() == parsed.len() && value.get(..FLAGS) == parsed.get(..FLAGS)).then_some(parsed)
}

fn traceparent(context: &SpanContext) -> String {
    let flags = context.trace_flags() & TraceFlags::SAMPLED;
    format!("00-{}-{}-{flags:02x}", context.trace_id(), context.span_id())
}

/// A processing step of events that begins now.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct Step {
    /// None while tracing is off.
    began: Option<SystemTime>,
}

impl Step {
    pub fn begin() -> Self {
        Self { began: tracer().map(|_| SystemTime::now()) }
    }

    /// Ends the step: a span for each of these events whose trace is sampled.
    pub fn done(self, name: &'static str, kind: &SpanKind, events: &[RecordedEvent]) {
        let (Some(began), Some(tracer)) = (self.began, tracer()) else { return };
        let ended = SystemTime::now();
        let batch_size = i64::try_from(events.len()).unwrap_or(i64::MAX);
        for event in events {
            let traceparent = event.decode_metadata().ok().and_then(|metadata| metadata.traceparent);
            let Some(parent) = traceparent.as_deref().and_then(parent) else { continue };
            let mut span = tracer
                .span_builder(name)
                .with_kind(kind.clone())
                .with_start_time(began)
                .with_attributes([
                    KeyValue::new("sales.event.position", event.position.get()),
                    KeyValue::new("sales.event.type", event.event_type.clone()),
                    KeyValue::new("sales.batch.size", batch_size),
                ])
                .start_with_context(tracer, &parent);
            span.end_with_timestamp(ended);
        }
    }
}

/// The span that caused an event, if its `traceparent` is valid.
fn parent(traceparent: &str) -> Option<Context> {
    let parent = TraceContextPropagator::new().extract_with_context(&Context::new(), &Traceparent(traceparent));
    parent.has_active_span().then_some(parent)
}

/// The carrier of an event: one header.
struct Traceparent<'a>(&'a str);

impl Extractor for Traceparent<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        (key == TRACEPARENT).then_some(self.0)
    }

    fn keys(&self) -> Vec<&str> {
        vec![TRACEPARENT]
    }
}

/// The exporter's thread is outside of the asynchronous runtime that the client needs.
struct Client {
    http: reqwest::Client,
    runtime: Handle,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

#[async_trait::async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: axum::http::Request<Bytes>) -> Result<axum::http::Response<Bytes>, HttpError> {
        let (http, request) = (self.http.clone(), reqwest::Request::try_from(request)?);
        let sending = self.runtime.spawn(async move {
            let answer = http.execute(request).await?.error_for_status()?;
            let status = answer.status();
            Ok::<_, reqwest::Error>((status, answer.bytes().await?))
        });
        let (status, body) = sending.await??;
        Ok(axum::http::Response::builder().status(status).body(body)?)
    }
}
