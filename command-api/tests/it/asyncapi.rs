//! The AsyncAPI document and the published events match.

use std::collections::BTreeSet;

use async_nats::jetstream;
use contract::ASYNCAPI;
use contract::{cloud_event::CloudEvent, event::EventType};
use reqwest::Method;
use runtime::nats::STREAM;
use serde_json::{Map, Value, json};
use testing::{Databases, Nats, Schema, eventually};

fn document() -> Value {
    serde_json::from_str(ASYNCAPI).unwrap()
}

/// A schema of the document, with the others that it refers to.
fn schema(document: &Value, reference: &Value) -> Schema {
    Schema::new(json!({ "allOf": [reference], "components": document["components"] }))
}

fn names(object: &Value) -> BTreeSet<&String> {
    object.as_object().unwrap().keys().collect()
}

#[tokio::test]
async fn published_events_match_the_document() {
    let (databases, nats) = (Databases::create().await, Nats::start());
    let service = databases.command_api(&nats.url("command-api")).await;
    service.buy("basic").await;
    let with_circumstances = service
        .request(Method::POST, "/api/buy_mpi")
        .header("idempotency-key", "order-17")
        .header("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
        .json(&json!({ "license": "enterprise" }));
    assert_eq!(with_circumstances.send().await.unwrap().status(), 201);
    assert_eq!(service.request(Method::DELETE, "/api/sales").send().await.unwrap().status(), 200);

    let document = service.json("/docs/events.json").await;
    let jetstream = jetstream::new(runtime::nats::connect(&nats.admin_url(), "test").await.unwrap());
    let end = async || jetstream.get_stream(STREAM).await.is_ok_and(|stream| stream.cached_info().state.messages == 3);
    eventually("the relay has published them", end).await;
    let stream = jetstream.get_stream(STREAM).await.unwrap();
    let (mut attributes, mut all_headers) = (BTreeSet::new(), BTreeSet::new());
    for sequence in 1..=3 {
        let published = stream.get_raw_message(sequence).await.unwrap();
        let event: Value = serde_json::from_slice(&published.payload).unwrap();
        let event_type = event["type"].as_str().unwrap();
        let channel = &document["channels"]["events"];
        let address = channel["address"].as_str().unwrap();
        assert_eq!(published.subject.as_str(), address.replace("{type}", event_type));
        let message = &document["components"]["messages"][event_type];
        schema(&document, &message["payload"]).assert_accepts(&event);
        let headers: Map<String, Value> =
            published.headers.iter().map(|(name, values)| (name.to_string(), json!(values[0].as_str()))).collect();
        let headers = Value::from(headers);
        schema(&document, &message["headers"]).assert_accepts(&headers);
        all_headers.extend(names(&headers).into_iter().cloned());
        attributes.extend(names(&event).into_iter().cloned());
    }
    // Every header and attribute of the document occurred, except for the attributes of older events, and no other.
    let documented = |schema: &str| names(&document["components"]["schemas"][schema]["properties"]);
    assert_eq!(all_headers.iter().collect::<BTreeSet<_>>(), documented("Headers"));
    assert!(!attributes.contains("actor"), "the metadata are published");
    attributes.extend(["actor", "actorrole", "traceparent", "idempotencykey"].map(str::to_owned));
    assert_eq!(attributes.iter().collect::<BTreeSet<_>>(), documented("Envelope"));
}

#[test]
fn the_examples_of_the_document_are_events() {
    let document = document();
    for (name, message) in document["components"]["messages"].as_object().unwrap() {
        let (payload, headers) = (schema(&document, &message["payload"]), schema(&document, &message["headers"]));
        let examples = message["examples"].as_array().unwrap();
        assert!(!examples.is_empty(), "{name} has no example");
        for example in examples {
            payload.assert_accepts(&example["payload"]);
            headers.assert_accepts(&example["headers"]);
            let json = example["payload"].to_string();
            let event = CloudEvent::parse(json.as_bytes()).unwrap();
            event.decode().unwrap();
            assert_eq!(event.event_type, **name);
            let before = (event.position.get() - 1).to_string();
            assert_eq!(example["headers"]["Nats-Expected-Last-Sequence"], before);
        }
    }
}

#[test]
fn the_document_lists_every_type() {
    let document = document();
    let known: BTreeSet<String> = [EventType::LicensePurchased, EventType::SalesReset, EventType::EventVoided]
        .map(|known| known.name().to_owned())
        .into();
    let channel = &document["channels"]["events"];
    let types: BTreeSet<String> = serde_json::from_value(channel["parameters"]["type"]["enum"].clone()).unwrap();
    assert_eq!(types, known);
    assert_eq!(names(&channel["messages"]), known.iter().collect());
    assert_eq!(names(&document["components"]["messages"]), known.iter().collect());
}

#[test]
fn other_json_does_not_match_the_document() {
    let document = document();
    let message = &document["components"]["messages"]["LicensePurchased"];
    let (payload, event) = (schema(&document, &message["payload"]), &message["examples"][0]["payload"]);
    for (pointer, wrong) in [
        ("/id", json!("7")),
        ("/time", json!("2026-11-23T18:30:00Z")),
        ("/position", json!(0)),
        ("/schemaversion", json!(2)),
        ("/data/license", json!("free")),
        ("/data/price/amount_minor", json!(199.5)),
        ("/data/price/amount_minor", json!(-1)),
        ("/data/price", json!({ "amount_minor": 19_900 })),
    ] {
        let mut broken = event.clone();
        *broken.pointer_mut(pointer).unwrap() = wrong;
        assert!(!payload.accepts(&broken), "{broken} fits");
    }
}
