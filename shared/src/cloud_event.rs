//! An event on the wire: a CloudEvent in JSON ("structured mode"), on NATS and over HTTP alike.
//!
//! Source: CloudEvents 1.0.2, JSON event format. `position`, `schemaversion`, `actor`, `traceparent` and
//! `idempotencykey` are extension attributes; their names follow the specification: lower-case letters and digits.

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::{
    event::{EventId, Metadata},
    event_log::{Position, RecordedEvent},
};

pub const CONTENT_TYPE: &str = "application/cloudevents+json";
const SPEC_VERSION: &str = "1.0";
const SOURCE: &str = "/sales/event-store";
const DATA_CONTENT_TYPE: &str = "application/json";

/// An event of the log as a CloudEvent 1.0.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct CloudEvent<'a> {
    #[schema(value_type = String, example = "1.0")]
    specversion: Cow<'a, str>,
    #[schema(value_type = uuid::Uuid)]
    id: EventId,
    #[schema(value_type = String, example = "/sales/event-store")]
    source: Cow<'a, str>,
    #[serde(rename = "type")]
    #[schema(value_type = String, example = "LicensePurchased")]
    event_type: Cow<'a, str>,
    /// When the event was appended to the log.
    time: DateTime<Utc>,
    #[schema(value_type = String, example = "application/json")]
    datacontenttype: Cow<'a, str>,
    /// Place in the log: 1, 2, 3 … without a hole.
    position: Position,
    /// Version of the shape of `data` for this type.
    schemaversion: i16,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    actor: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    traceparent: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    idempotencykey: Option<Cow<'a, str>>,
    /// The event itself.
    #[schema(value_type = Object)]
    data: Cow<'a, RawValue>,
}

/// A message is not one of our CloudEvents.
#[derive(Debug, thiserror::Error)]
pub enum ParseError {
    #[error("not a CloudEvent in JSON: {0}")]
    Json(#[from] serde_json::Error),
    #[error("{attribute} is {found:?}, expected {expected:?}")]
    Attribute { attribute: &'static str, found: String, expected: &'static str },
}

impl<'a> From<&'a RecordedEvent> for CloudEvent<'a> {
    fn from(event: &'a RecordedEvent) -> Self {
        Self {
            specversion: SPEC_VERSION.into(),
            id: event.event_id,
            source: SOURCE.into(),
            event_type: event.event_type.as_ref().into(),
            time: event.recorded_at,
            datacontenttype: DATA_CONTENT_TYPE.into(),
            position: event.position,
            schemaversion: event.schema_version,
            actor: event.metadata.actor.as_deref().map(Into::into),
            traceparent: event.metadata.traceparent.as_deref().map(Into::into),
            idempotencykey: event.metadata.idempotency_key.as_deref().map(Into::into),
            data: Cow::Borrowed(&event.data),
        }
    }
}

impl CloudEvent<'_> {
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a CloudEvent has only string keys and serializes into memory")
    }
}

/// Reads a CloudEvent back into the event that it was made of.
pub fn parse(json: &[u8]) -> Result<RecordedEvent, ParseError> {
    let event: CloudEvent<'_> = serde_json::from_slice(json)?;
    for (attribute, found, expected) in [
        ("specversion", &event.specversion, SPEC_VERSION),
        ("source", &event.source, SOURCE),
        ("datacontenttype", &event.datacontenttype, DATA_CONTENT_TYPE),
    ] {
        if found != expected {
            return Err(ParseError::Attribute { attribute, found: found.to_string(), expected });
        }
    }
    Ok(RecordedEvent {
        position: event.position,
        event_id: event.id,
        recorded_at: event.time,
        event_type: event.event_type.into_owned().into(),
        schema_version: event.schemaversion,
        data: event.data.into_owned(),
        metadata: Metadata {
            actor: event.actor.map(Cow::into_owned),
            traceparent: event.traceparent.map(Cow::into_owned),
            idempotency_key: event.idempotencykey.map(Cow::into_owned),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOLDEN: &str = concat!(
        r#"{"specversion":"1.0","id":"0190b0a0-0000-7000-8000-000000000001","source":"/sales/event-store","#,
        r#""type":"LicensePurchased","time":"2026-11-23T18:30:00.000001Z","datacontenttype":"application/json","#,
        r#""position":7,"schemaversion":1,"idempotencykey":"order-17","#,
        r#""data":{"license":"pro","price":{"amount_minor":19900,"currency":"EUR"}}}"#,
    );

    #[test]
    fn an_event_travels_as_published_and_comes_back_the_same() {
        let event = parse(GOLDEN.as_bytes()).unwrap();
        assert_eq!(event.position.get(), 7);
        assert_eq!(event.metadata.idempotency_key.as_deref(), Some("order-17"));
        event.decode().unwrap();
        assert_eq!(String::from_utf8(CloudEvent::from(&event).to_json()).unwrap(), GOLDEN);
    }

    #[test]
    fn what_is_not_ours_is_refused() {
        for (from, to) in [
            (r#""specversion":"1.0""#, r#""specversion":"2.0""#),
            ("/sales/event-store", "/elsewhere"),
            ("application/json", "text/xml"),
            (r#""position":7"#, r#""position":-7"#),
            (r#""position":7,"#, ""),
            (r#""data":{"#, r#""data":{{"#),
        ] {
            let broken = GOLDEN.replace(from, to);
            assert_ne!(broken, GOLDEN);
            assert!(parse(broken.as_bytes()).is_err(), "{broken} was accepted");
        }
    }
}
