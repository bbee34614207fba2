//! An event on the wire: a CloudEvent in JSON ("structured mode") on NATS, over HTTP and in exports. Its bytes are the same
//! everywhere: the transparency log hashes them, and `TRANSPARENCY.md` of the log crate defines them.
//!
//! The metadata of an event are not in its line: the proof of a purchase shows the line to anyone who knows the purchase id. The
//! line has their salted hash. Only the lines of older events, whose metadata have no salt, show them.
//!
//! Source: CloudEvents 1.0.2, JSON event format. `position`, `schemaversion`, `metadatahash` and the metadata of older events are
//! extension attributes; the specification allows lower-case letters and digits.

use std::borrow::Cow;

use base64::{Engine, engine::general_purpose::STANDARD};
use chrono::{DateTime, Datelike, Timelike, Utc};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    canonical,
    event::{DecodeError, Event, EventId, Metadata},
    position::Position,
    recorded_event::RecordedEvent,
    role::Role,
};

pub const CONTENT_TYPE: &str = "application/cloudevents+json";
const SPEC_VERSION: &str = "1.0";
const SOURCE: &str = "/sales/event-store";
const DATA_CONTENT_TYPE: &str = "application/json";

/// An event of the log as a CloudEvent 1.0.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct CloudEvent<'a> {
    #[serde(borrow)]
    #[schema(value_type = String, example = "1.0")]
    specversion: Cow<'a, str>,
    #[schema(value_type = uuid::Uuid)]
    pub id: EventId,
    #[serde(borrow)]
    #[schema(value_type = String, example = "/sales/event-store")]
    source: Cow<'a, str>,
    #[serde(rename = "type", borrow)]
    #[schema(value_type = String, example = "LicensePurchased")]
    pub event_type: Cow<'a, str>,
    /// When the event was appended to the log, to the microsecond.
    #[serde(serialize_with = "to_the_microsecond")]
    pub time: DateTime<Utc>,
    #[serde(borrow)]
    #[schema(value_type = String, example = "application/json")]
    datacontenttype: Cow<'a, str>,
    /// Position in the log: 1, 2, 3 … without a gap.
    pub position: Position,
    /// Version of the schema of `data` for this type.
    pub schemaversion: i16,
    /// Only older events have it, `actorrole`, `traceparent` and `idempotencykey`.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    actor: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    actorrole: Option<Role>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    traceparent: Option<Cow<'a, str>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    idempotencykey: Option<Cow<'a, str>>,
    /// SHA-256 of the salted metadata, in base64; absent without metadata. Older events have the metadata instead.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub metadatahash: Option<Cow<'a, str>>,
    /// The event itself.
    #[serde(borrow)]
    #[schema(value_type = Object)]
    data: Cow<'a, RawValue>,
}

/// The message is not a CloudEvent of this system.
#[derive(Debug, thiserror::Error)]
pub enum ParseError {
    #[error("not a CloudEvent in JSON: {0}")]
    Json(#[from] serde_json::Error),
    #[error("{attribute} is {found:?}, expected {expected:?}")]
    Attribute { attribute: &'static str, found: String, expected: &'static str },
    #[error("metadatahash is not a SHA-256 hash in base64, or the event shows its metadata")]
    Metadata,
}

/// This system did not write the row: another row could have the same line.
#[derive(Debug, thiserror::Error)]
#[error("the event at position {position} was not written by this system: {reason}")]
pub struct NotCanonical {
    pub position: Position,
    pub reason: Deviation,
}

/// What differs from the rows that this system writes.
#[derive(Debug, thiserror::Error)]
pub enum Deviation {
    #[error("its data is not JSON: {0}")]
    Data(serde_json::Error),
    #[error("its data contains line breaks or surrounding blanks")]
    Blanks,
    #[error("its metadata is not what this system writes")]
    Metadata,
}

impl<'a, Text: AsRef<str>> TryFrom<&'a RecordedEvent<Text>> for CloudEvent<'a> {
    type Error = NotCanonical;

    /// No two different rows become the same event: a row that is not encoded as this system encodes it is refused.
    fn try_from(event: &'a RecordedEvent<Text>) -> Result<Self, NotCanonical> {
        let not_canonical = |reason| NotCanonical { position: event.position, reason };
        let text = event.data.as_ref();
        let data: &RawValue = serde_json::from_str(text).map_err(|error| not_canonical(Deviation::Data(error)))?;
        if data.get().len() != text.len() || text.bytes().any(|byte| byte < b' ') {
            return Err(not_canonical(Deviation::Blanks));
        }
        let stored: Option<&str> = event.metadata.as_ref().map(AsRef::as_ref);
        let (metadatahash, shown) = match stored {
            None => (None, Metadata::default()),
            Some(stored) if canonical::is_salted(stored) => (Some(hash(stored)), Metadata::default()),
            Some(stored) => {
                let metadata = event.decode_metadata().map_err(|_| not_canonical(Deviation::Metadata))?;
                if metadata.encode().as_deref() != Some(stored) {
                    return Err(not_canonical(Deviation::Metadata));
                }
                if metadata.salt.is_some() { (Some(hash(stored)), Metadata::default()) } else { (None, metadata) }
            }
        };
        Ok(Self {
            specversion: SPEC_VERSION.into(),
            id: event.event_id,
            source: SOURCE.into(),
            event_type: event.event_type.as_ref().into(),
            time: event.recorded_at,
            datacontenttype: DATA_CONTENT_TYPE.into(),
            position: event.position,
            schemaversion: event.schema_version,
            actor: shown.actor.map(Into::into),
            actorrole: shown.actor_role,
            traceparent: shown.traceparent.map(Into::into),
            idempotencykey: shown.idempotency_key.map(Into::into),
            metadatahash: metadatahash.map(Into::into),
            data: Cow::Borrowed(data),
        })
    }
}

impl<'a> CloudEvent<'a> {
    pub fn to_json(&self) -> Vec<u8> {
        let mut json = Vec::with_capacity(512);
        self.write(&mut json);
        json
    }

    /// Appends its JSON, the same as through `Serialize` in a third of the time, since most of it is constant.
    pub fn write(&self, json: &mut Vec<u8>) {
        json.extend_from_slice(br#"{"specversion":"1.0","id":""#);
        json.extend_from_slice(self.id.as_uuid().hyphenated().encode_lower(&mut Uuid::encode_buffer()).as_bytes());
        json.extend_from_slice(br#"","source":"/sales/event-store","type":"#);
        write_value(json, &self.event_type);
        json.extend_from_slice(br#","time":"#);
        to_the_microsecond(&self.time, &mut serde_json::Serializer::new(&mut *json)).expect(IN_MEMORY);
        json.extend_from_slice(br#","datacontenttype":"application/json","position":"#);
        write_value(json, &self.position);
        json.extend_from_slice(br#","schemaversion":"#);
        write_value(json, &self.schemaversion);
        write_member(json, r#","actor":"#, self.actor.as_ref());
        write_member(json, r#","actorrole":"#, self.actorrole.as_ref());
        write_member(json, r#","traceparent":"#, self.traceparent.as_ref());
        write_member(json, r#","idempotencykey":"#, self.idempotencykey.as_ref());
        write_member(json, r#","metadatahash":"#, self.metadatahash.as_ref());
        json.extend_from_slice(br#","data":"#);
        json.extend_from_slice(self.data.get().as_bytes());
        json.push(b'}');
    }

    pub fn parse(json: &'a [u8]) -> Result<Self, ParseError> {
        let event: Self = serde_json::from_slice(json)?;
        for (attribute, found, expected) in [
            ("specversion", &event.specversion, SPEC_VERSION),
            ("source", &event.source, SOURCE),
            ("datacontenttype", &event.datacontenttype, DATA_CONTENT_TYPE),
        ] {
            if found != expected {
                return Err(ParseError::Attribute { attribute, found: found.to_string(), expected });
            }
        }
        let shows_metadata = event.actor.is_some()
            || event.actorrole.is_some()
            || event.traceparent.is_some()
            || event.idempotencykey.is_some();
        if event.metadatahash.as_ref().is_some_and(|hash| shows_metadata || !is_hash(hash)) {
            return Err(ParseError::Metadata);
        }
        Ok(event)
    }

    pub fn decode(&self) -> Result<Event, DecodeError> {
        Event::decode(&self.event_type, self.schemaversion, self.data())
    }

    /// The payload as stored.
    pub fn data(&self) -> &str {
        self.data.get()
    }
}

impl From<CloudEvent<'_>> for RecordedEvent {
    /// An event with a `metadatahash` becomes one without metadata, since they do not follow from the hash.
    fn from(event: CloudEvent<'_>) -> Self {
        let metadata = Metadata {
            salt: None,
            actor: event.actor.map(Cow::into_owned),
            actor_role: event.actorrole,
            traceparent: event.traceparent.map(Cow::into_owned),
            idempotency_key: event.idempotencykey.map(Cow::into_owned),
        };
        Self {
            position: event.position,
            event_id: event.id,
            recorded_at: event.time,
            schema_version: event.schemaversion,
            event_type: event.event_type.into_owned(),
            data: event.data.get().to_owned(),
            metadata: metadata.encode(),
        }
    }
}

/// The hash that the line has in place of the metadata.
fn hash(metadata: &str) -> String {
    STANDARD.encode(Sha256::digest(metadata))
}

fn is_hash(text: &str) -> bool {
    STANDARD.decode(text).is_ok_and(|hash| hash.len() == Sha256::output_size())
}

const IN_MEMORY: &str = "strings and numbers serialize into memory";

fn write_member(json: &mut Vec<u8>, name: &str, value: Option<&impl Serialize>) {
    if let Some(value) = value {
        json.extend_from_slice(name.as_bytes());
        write_value(json, value);
    }
}

fn write_value(json: &mut Vec<u8>, value: &impl Serialize) {
    serde_json::to_writer(json, value).expect(IN_MEMORY);
}

/// `2026-11-23T18:30:00.000001Z`: always six decimal places, so that a time has one notation.
fn to_the_microsecond<S: Serializer>(time: &DateTime<Utc>, serializer: S) -> Result<S::Ok, S::Error> {
    let mut text = *b"0000-00-00T00:00:00.000000Z";
    let Some(year) = u32::try_from(time.year()).ok().filter(|year| *year < 10_000) else {
        return serializer.collect_str(&time.format("%Y-%m-%dT%H:%M:%S%.6fZ"));
    };
    for (end, digits, number) in [
        (4, 4, year),
        (7, 2, time.month()),
        (10, 2, time.day()),
        (13, 2, time.hour()),
        (16, 2, time.minute()),
        (19, 2, time.second()),
        (26, 6, time.timestamp_subsec_micros()),
    ] {
        let mut rest = number;
        for digit in text[end - digits..end].iter_mut().rev() {
            *digit += u8::try_from(rest % 10).expect("a digit");
            rest /= 10;
        }
    }
    serializer.serialize_str(std::str::from_utf8(&text).expect("it has only digits"))
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
    fn an_event_is_written_as_published_and_read_back_the_same() {
        let event = RecordedEvent::from(CloudEvent::parse(GOLDEN.as_bytes()).unwrap());
        assert_eq!(event.position.get(), 7);
        assert_eq!(event.metadata.as_deref(), Some(r#"{"idempotency_key":"order-17"}"#));
        event.decode().unwrap();
        assert_eq!(String::from_utf8(CloudEvent::try_from(&event).unwrap().to_json()).unwrap(), GOLDEN);
    }

    #[test]
    fn the_line_of_an_event_with_a_salt_hides_the_metadata() {
        let shown = RecordedEvent::from(CloudEvent::parse(GOLDEN.as_bytes()).unwrap());
        let line = |metadata: Metadata| {
            let event = RecordedEvent { metadata: metadata.encode(), ..shown.clone() };
            String::from_utf8(CloudEvent::try_from(&event).unwrap().to_json()).unwrap()
        };
        let metadata = Metadata {
            salt: Some("8f14e45fceea467fa7d1b8c9e3a20b64".to_owned()),
            actor: Some("carl".to_owned()),
            actor_role: Some(Role::Customer),
            traceparent: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned()),
            idempotency_key: Some("order-17".to_owned()),
        };
        let salted = line(metadata.clone());
        let hash = "yk30atOp9EbFhxREiOmQHNw+kzktN2h+ulNp5tDXoxw=";
        let hidden = GOLDEN.replace(r#""idempotencykey":"order-17""#, &format!(r#""metadatahash":"{hash}""#));
        assert_eq!(salted, hidden);
        assert_ne!(line(Metadata { actor: Some("carla".to_owned()), ..metadata.clone() }), salted);
        assert_ne!(line(metadata.salted()), salted);
        // Back from the line, the metadata are missing.
        assert_eq!(RecordedEvent::from(CloudEvent::parse(salted.as_bytes()).unwrap()).metadata, None);
    }

    #[test]
    fn the_writer_and_serialize_give_the_same_bytes() {
        for line in include_str!("../golden/log.ndjson").lines() {
            let event = CloudEvent::parse(line.as_bytes()).unwrap();
            assert_eq!(String::from_utf8(event.to_json()).unwrap(), serde_json::to_string(&event).unwrap());
        }
    }

    #[test]
    fn a_row_that_its_line_would_not_give_back_is_refused() {
        let event = RecordedEvent::from(CloudEvent::parse(GOLDEN.as_bytes()).unwrap());
        for data in ["", "{", " {}", "{}\n", "{\t}"] {
            let changed = RecordedEvent { data: data.to_owned(), ..event.clone() };
            assert!(CloudEvent::try_from(&changed).is_err(), "data {data:?} was accepted");
        }
        for metadata in ["", "{}", r#"{"a":1}"#, r#"{"actor": "a"}"#, r#"{"traceparent":"t","actor":"a"}"#] {
            let changed = RecordedEvent { metadata: Some(metadata.to_owned()), ..event.clone() };
            assert!(CloudEvent::try_from(&changed).is_err(), "metadata {metadata:?} was accepted");
        }
    }

    #[test]
    fn foreign_messages_are_refused() {
        for (from, to) in [
            (r#""specversion":"1.0""#, r#""specversion":"2.0""#),
            ("/sales/event-store", "/elsewhere"),
            ("application/json", "text/xml"),
            (r#""position":7"#, r#""position":-7"#),
            (r#""position":7,"#, ""),
            (r#""data":{"#, r#""data":{{"#),
            ("idempotencykey", "metadatahash"),
            (r#""idempotencykey":"order-17""#, r#""metadatahash":"47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFV=""#),
            (r#","data""#, r#","metadatahash":"47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=","data""#),
        ] {
            let broken = GOLDEN.replace(from, to);
            assert_ne!(broken, GOLDEN);
            assert!(CloudEvent::parse(broken.as_bytes()).is_err(), "{broken} was accepted");
        }
    }
}
