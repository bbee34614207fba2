//! One trace from the request to the projection, as a collector sees it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use axum::{Router, body::Bytes, http::header, routing::post};
use opentelemetry_proto::tonic::{
    collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse},
    common::v1::{AnyValue, KeyValue, any_value},
    trace::v1::{Span, span::SpanKind},
};
use prost::Message;
use reqwest::Method;
use serde_json::{Value, json};
use stack::ports;
use tokio::net::TcpListener;

use crate::running::{Running, succeed, until};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CLIENT_SPAN: &str = "00f067aa0ba902b7";

/// Takes traces by OTLP over HTTP, as every collector does.
struct Collector {
    endpoint: String,
    /// With the name of the service that sent it.
    spans: Arc<Mutex<Vec<(String, Span)>>>,
}

impl Collector {
    async fn start() -> Self {
        let listener = TcpListener::bind(ports::loopback(0)).await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let spans = Arc::new(Mutex::new(Vec::new()));
        let taken = Arc::clone(&spans);
        let take = post(async move |body: Bytes| {
            for sent in ExportTraceServiceRequest::decode(body).unwrap().resource_spans {
                let service = text(&sent.resource.unwrap().attributes, "service.name");
                let mut taken = taken.lock().unwrap();
                taken.extend(
                    sent.scope_spans.into_iter().flat_map(|scope| scope.spans).map(|span| (service.clone(), span)),
                );
            }
            let answer = ExportTraceServiceResponse::default().encode_to_vec();
            ([(header::CONTENT_TYPE, "application/x-protobuf")], answer)
        });
        tokio::spawn(axum::serve(listener, Router::new().route("/v1/traces", take)).into_future());
        Self { endpoint, spans }
    }
}

fn attribute<'a>(attributes: &'a [KeyValue], key: &str) -> &'a any_value::Value {
    let found = attributes.iter().find(|attribute| attribute.key == key).and_then(|attribute| attribute.value.as_ref());
    let Some(AnyValue { value: Some(value) }) = found else { panic!("{key} is missing in {attributes:?}") };
    value
}

fn text(attributes: &[KeyValue], key: &str) -> String {
    let any_value::Value::StringValue(value) = attribute(attributes, key) else { panic!("{key} is no text") };
    value.clone()
}

fn number(span: &Span, key: &str) -> i64 {
    let any_value::Value::IntValue(value) = attribute(&span.attributes, key) else { panic!("{key} is no number") };
    *value
}

fn hex(id: &[u8]) -> String {
    id.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}

async fn buy(system: &Running, traceparent: Option<&str>) -> i64 {
    let request = system.request(Method::POST, "/api/buy_mpi").json(&json!({ "license": "pro" }));
    let request = match traceparent {
        Some(traceparent) => request.header("traceparent", traceparent),
        None => request,
    };
    let reply = request.send().await.unwrap();
    assert_eq!(reply.status(), 201);
    reply.json::<Value>().await.unwrap()["position"].as_i64().unwrap()
}

/// The trace context in the metadata of an event.
async fn stored_context(system: &Running, position: i64) -> Option<String> {
    let path = format!("/api/events?after={}&limit=1", position - 1);
    let page: Value = system.request(Method::GET, &path).send().await.unwrap().json().await.unwrap();
    let metadata: Value = serde_json::from_str(page["metadata"][0].as_str()?).unwrap();
    metadata["traceparent"].as_str().map(str::to_owned)
}

// The collector listens while the test waits for the services to stop.
#[tokio::test(flavor = "multi_thread")]
async fn a_trace_goes_from_the_request_through_the_event_to_the_projection() {
    let collector = Collector::start().await;
    let system = Running::prepare();
    let mut up = system.up_command();
    up.arg("--detach")
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.endpoint)
        // Only what comes with a sampled trace already.
        .env("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
        .env("OTEL_TRACES_SAMPLER_ARG", "0")
        // Longer than the test: what arrives was sent when the services were told to stop.
        .env("OTEL_BSP_SCHEDULE_DELAY", "600000");
    succeed(&mut up);

    let untraced = buy(&system, None).await;
    let not_sampled = format!("00-{TRACE}-{CLIENT_SPAN}-00");
    let unsampled = buy(&system, Some(&not_sampled)).await;
    let sampled = buy(&system, Some(&format!("00-{TRACE}-{CLIENT_SPAN}-01"))).await;
    assert_eq!(system.totals(sampled).await["sales_count"], 3);
    until("all is published", async || {
        let status = system.status();
        let command_api = status.processes.iter().find(|process| process.name == "command-api").unwrap().address;
        let metrics = reqwest::get(format!("http://{command_api}/metrics")).await.unwrap().text().await.unwrap();
        metrics.lines().any(|line| line == format!("sales_relay_position {sampled}"))
    })
    .await;

    // What is stored is what was sent, unless a span of ours stands between.
    assert_eq!(stored_context(&system, untraced).await, None);
    assert_eq!(stored_context(&system, unsampled).await, Some(not_sampled));
    let stored = stored_context(&system, sampled).await.unwrap();
    until("the log with it is signed", async || {
        let proof = system.request(Method::GET, &format!("/api/events/{sampled}/proof")).send().await.unwrap();
        proof.status() == 200
    })
    .await;
    system.audit(&["verify"]);

    system.down();
    let spans = collector.spans.lock().unwrap();
    let traces: BTreeSet<String> = spans.iter().map(|(_, span)| hex(&span.trace_id)).collect();
    assert_eq!(traces, [TRACE.to_owned()].into(), "nothing else is sampled");
    let by_name: BTreeMap<(&str, &str), &Span> =
        spans.iter().map(|(service, span)| ((service.as_str(), span.name.as_str()), span)).collect();
    let request = ("command-api", "POST /api/buy_mpi");
    let steps = [("command-api", "append"), ("command-api", "publish"), ("projector", "count")];
    assert_eq!(by_name.keys().copied().collect::<BTreeSet<_>>(), [request].into_iter().chain(steps).collect());
    assert_eq!(spans.len(), by_name.len(), "each of them once");

    let request = by_name[&request];
    assert_eq!(request.kind(), SpanKind::Server);
    assert_eq!(hex(&request.parent_span_id), CLIENT_SPAN);
    assert_eq!(number(request, "http.response.status_code"), 201);
    let request_id = hex(&request.span_id);
    assert_eq!(stored, format!("00-{TRACE}-{request_id}-01"));
    let mut earlier = request.start_time_unix_nano;
    for step in steps {
        let span = by_name[&step];
        assert_eq!(hex(&span.parent_span_id), request_id, "{step:?}");
        assert_eq!(number(span, "sales.event.position"), sampled, "{step:?}");
        assert!(
            earlier <= span.start_time_unix_nano && span.start_time_unix_nano <= span.end_time_unix_nano,
            "{step:?}"
        );
        earlier = span.start_time_unix_nano;
    }
}
