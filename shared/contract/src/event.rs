//! The events and their encoding.
//!
//! An event is stored under a type name and a schema version. Published JSON stays readable permanently: a new schema gets the
//! next version, and [`Event::decode`] upcasts the older ones.

use serde::{Deserialize, Deserializer, Serialize, de::Error};
use uuid::Uuid;

use crate::{canonical, catalogue::License, money::Money, position::Position, role::Role};

/// The identity of an event. For a purchase it is the purchase id and, at the same time, the idempotency key.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, utoipa::ToSchema)]
#[serde(transparent)]
pub struct EventId(Uuid);

impl EventId {
    /// A new, time-ordered id, so that the index over the ids grows at its end.
    pub fn generate() -> Self {
        Self(Uuid::now_v7())
    }

    pub const fn as_uuid(self) -> Uuid {
        self.0
    }
}

impl From<Uuid> for EventId {
    fn from(id: Uuid) -> Self {
        Self(id)
    }
}

impl std::fmt::Display for EventId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Every event, in its newest schema.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Event {
    LicensePurchased(LicensePurchased),
    SalesReset(SalesReset),
    EventVoided(EventVoided),
}

/// A customer bought a licence at a price.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct LicensePurchased {
    pub license: License,
    #[serde(deserialize_with = "price")]
    pub price: Money,
}

/// A price. The sums of larger ones would fail at some later event. `append_events` admits smaller ones only.
fn price<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Money, D::Error> {
    const MAX_AMOUNT_MINOR: i64 = 9_999_999_999_999_999;
    let price = Money::deserialize(deserializer)?;
    if (0..=MAX_AMOUNT_MINOR).contains(&price.amount_minor()) {
        return Ok(price);
    }
    Err(Error::custom(format_args!("the price {price} is out of range")))
}

/// A purchase of any licence: a newer program may sell others.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AnyLicensePurchased {
    license: String,
    #[serde(rename = "price", deserialize_with = "price")]
    _price: Money,
}

impl AnyLicensePurchased {
    /// Whether `append_events` admits the name of the licence.
    fn is_named(&self) -> bool {
        (1..=40).contains(&self.license.len())
            && self.license.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'))
    }
}

/// The totals restart from zero.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SalesReset {
    /// Why, in the operator's words.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "without_nul")]
    pub reason: Option<String>,
}

/// No text in Postgres contains U+0000, so the read model could not store it.
fn without_nul<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    if text.as_ref().is_some_and(|text| text.contains('\0')) {
        return Err(Error::custom("the text contains U+0000"));
    }
    Ok(text)
}

/// Version 1 of [`SalesReset`], which had no reason.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SalesResetV1 {}

/// An operator decided that the event at an earlier position does not count.
///
/// It has an effect only if no version can decode that event ([`DecodeError::is_final`]): a decision cannot change the past. It takes
/// effect at the position of that event.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct EventVoided {
    pub position: Position,
    /// Why, in the operator's words.
    pub reason: String,
}

/// A stored event that this program cannot decode: a newer program wrote it, or it is corrupt.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    #[error("unknown event type {event_type:?} in version {schema_version}")]
    Unknown { event_type: String, schema_version: i16 },
    #[error("unknown licence {0:?}")]
    UnknownLicense(String),
    #[error("broken data of {event_type} in version {schema_version}: {source}")]
    Broken { event_type: String, schema_version: i16, source: serde_json::Error },
}

impl DecodeError {
    /// Whether no version can decode the event: its type and version are known, and their meaning never changes.
    pub const fn is_final(&self) -> bool {
        matches!(self, Self::Broken { .. })
    }
}

pub const LICENSE_PURCHASED: &str = "LicensePurchased";
pub const SALES_RESET: &str = "SalesReset";
pub const EVENT_VOIDED: &str = "EventVoided";

/// The event types of this program.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, utoipa::ToSchema)]
pub enum EventType {
    LicensePurchased,
    SalesReset,
    EventVoided,
}

impl EventType {
    pub const fn name(self) -> &'static str {
        match self {
            Self::LicensePurchased => LICENSE_PURCHASED,
            Self::SalesReset => SALES_RESET,
            Self::EventVoided => EVENT_VOIDED,
        }
    }
}

impl Event {
    /// Its type, schema version and JSON.
    pub fn encode(&self) -> (&'static str, i16, String) {
        let (event_type, schema_version, data) = match self {
            Self::LicensePurchased(event) => (LICENSE_PURCHASED, 1, serde_json::to_string(event)),
            Self::SalesReset(event) => (SALES_RESET, 2, serde_json::to_string(event)),
            Self::EventVoided(event) => (EVENT_VOIDED, 1, serde_json::to_string(event)),
        };
        (event_type, schema_version, data.expect("an event has only string keys and serializes into memory"))
    }

    /// Decodes any published version, and upcasts it.
    pub fn decode(event_type: &str, schema_version: i16, data: &str) -> Result<Self, DecodeError> {
        if event_type == LICENSE_PURCHASED
            && schema_version == 1
            && let Some((license, price)) = canonical::purchase(data.as_bytes())
        {
            return Ok(Self::LicensePurchased(LicensePurchased { license, price }));
        }
        let decoded = match (event_type, schema_version) {
            (LICENSE_PURCHASED, 1) => serde_json::from_str(data).map(Self::LicensePurchased),
            (SALES_RESET, 1) => {
                serde_json::from_str(data).map(|SalesResetV1 {}| Self::SalesReset(SalesReset { reason: None }))
            }
            (SALES_RESET, 2) => serde_json::from_str(data).map(Self::SalesReset),
            (EVENT_VOIDED, 1) => serde_json::from_str(data).map(Self::EventVoided),
            _ => return Err(DecodeError::Unknown { event_type: event_type.to_owned(), schema_version }),
        };
        decoded.map_err(|source| match serde_json::from_str::<AnyLicensePurchased>(data) {
            Ok(purchase) if event_type == LICENSE_PURCHASED && purchase.is_named() => {
                DecodeError::UnknownLicense(purchase.license)
            }
            _ => DecodeError::Broken { event_type: event_type.to_owned(), schema_version, source },
        })
    }
}

/// The circumstances of an event. They do not change its meaning.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Metadata {
    /// Keeps the hash of the metadata from revealing them. Absent in older events, whose lines show the metadata.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub salt: Option<String>,
    /// Subject that caused the event; absent for customers without a name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// The role that authorized the actor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor_role: Option<Role>,
    /// W3C trace context of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// The client's idempotency key, where it is not the event id itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
}

impl Metadata {
    /// With a new salt; without one if every field is empty.
    #[must_use]
    pub fn salted(self) -> Self {
        let salt = (self != Self::default()).then(|| Uuid::new_v4().simple().to_string());
        Self { salt, ..self }
    }

    /// The JSON to store; none if every field is empty.
    pub fn encode(&self) -> Option<String> {
        (*self != Self::default())
            .then(|| serde_json::to_string(self).expect("metadata has only string keys and serializes into memory"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::money::Money;

    /// Every version ever published, as it was published. Lines are added here, never changed.
    fn golden() -> Vec<(&'static str, i16, &'static str, Event)> {
        let purchase = |license, cents| Event::LicensePurchased(LicensePurchased { license, price: Money::eur(cents) });
        vec![
            (
                "LicensePurchased",
                1,
                r#"{"license":"basic","price":{"amount_minor":4900,"currency":"EUR"}}"#,
                purchase(License::Basic, 4900),
            ),
            (
                "LicensePurchased",
                1,
                r#"{"license":"enterprise","price":{"amount_minor":99900,"currency":"EUR"}}"#,
                purchase(License::Enterprise, 99900),
            ),
            ("SalesReset", 1, "{}", Event::SalesReset(SalesReset { reason: None })),
            ("SalesReset", 2, "{}", Event::SalesReset(SalesReset { reason: None })),
            (
                "SalesReset",
                2,
                r#"{"reason":"new year"}"#,
                Event::SalesReset(SalesReset { reason: Some("new year".to_owned()) }),
            ),
            (
                "EventVoided",
                1,
                r#"{"position":17,"reason":"amount out of range"}"#,
                Event::EventVoided(EventVoided {
                    position: 17.try_into().unwrap(),
                    reason: "amount out of range".to_owned(),
                }),
            ),
        ]
    }

    #[test]
    fn every_published_version_is_decoded() {
        for (event_type, version, data, event) in golden() {
            assert_eq!(Event::decode(event_type, version, data).unwrap(), event);
        }
    }

    #[test]
    fn the_newest_version_is_written_as_published() {
        for (event_type, version, data, event) in golden() {
            let (newest_type, newest_version, newest_data) = event.encode();
            if newest_version == version {
                assert_eq!((newest_type, newest_data.as_str()), (event_type, data));
            }
            let again = Event::decode(newest_type, newest_version, &newest_data).unwrap();
            assert_eq!(again, event, "an upcast event survives being written in the newest version");
        }
    }

    #[test]
    fn an_unknown_event_is_an_error_and_never_skipped() {
        let data = r#"{"license":"pro","price":{"amount_minor":1,"currency":"EUR"}}"#;
        assert!(matches!(Event::decode("LicenseRented", 1, data), Err(DecodeError::Unknown { .. })));
        assert!(matches!(Event::decode("LicensePurchased", 2, data), Err(DecodeError::Unknown { .. })));
        assert!(matches!(Event::decode("LicensePurchased", 0, data), Err(DecodeError::Unknown { .. })));
        assert!(matches!(Event::decode("LicensePurchased", 1, "{}"), Err(DecodeError::Broken { .. })));
        assert!(matches!(Event::decode("SalesReset", 1, data), Err(DecodeError::Broken { .. })));
        assert!(matches!(Event::decode("SalesReset", 1, r#"{"reason":"r"}"#), Err(DecodeError::Broken { .. })));
        assert!(matches!(Event::decode("SalesReset", 3, "{}"), Err(DecodeError::Unknown { .. })));
    }

    #[test]
    fn only_an_event_that_no_version_can_decode_is_final() {
        let purchase = |license: &str, amount: &str| {
            let data = format!(r#"{{"license":"{license}","price":{{"amount_minor":{amount},"currency":"EUR"}}}}"#);
            ("LicensePurchased", 1, data)
        };
        let reset = |data: &str| ("SalesReset", 2, data.to_owned());
        let is_final = |(event_type, version, data): (&str, i16, String)| {
            Event::decode(event_type, version, &data).map_err(|error| error.is_final())
        };
        for counts in [purchase("pro", "0"), purchase("pro", "9999999999999999"), reset("{}")] {
            assert!(is_final(counts.clone()).is_ok(), "{counts:?}");
        }
        for newer in [
            purchase("gold", "1"),
            ("LicensePurchased", 2, "?".to_owned()),
            ("LicenseRented", 1, "?".to_owned()),
            ("EventVoided", 2, "?".to_owned()),
        ] {
            assert_eq!(is_final(newer.clone()), Err(false), "{newer:?}");
        }
        for broken in [
            purchase("pro", "10000000000000000"),
            purchase("pro", "9223372036854775807"),
            purchase("pro", "-1"),
            purchase("gold", "9223372036854775807"),
            purchase("Gold", "1"),
            (
                "LicensePurchased",
                1,
                r#"{"license":"gold","price":{"amount_minor":1,"currency":"EUR"},"tax":1}"#.to_owned(),
            ),
            reset(r#"{"reason":"\u0000"}"#),
            reset(r#"{"license":"gold","price":{"amount_minor":1,"currency":"EUR"}}"#),
            ("EventVoided", 1, r#"{"position":-1,"reason":"r"}"#.to_owned()),
            ("EventVoided", 1, r#"{"position":1}"#.to_owned()),
        ] {
            assert_eq!(is_final(broken.clone()), Err(true), "{broken:?}");
        }
    }

    #[test]
    fn empty_metadata_is_not_stored() {
        assert_eq!(Metadata::default().salted().encode(), None);
        let keyed = Metadata { idempotency_key: Some("order-17".into()), ..Metadata::default() };
        assert_eq!(keyed.encode().unwrap(), r#"{"idempotency_key":"order-17"}"#);
    }

    #[test]
    fn every_event_has_a_salt_of_its_own() {
        let keyed = Metadata { idempotency_key: Some("order-17".into()), ..Metadata::default() };
        let salts = [keyed.clone(), keyed].map(|metadata| metadata.salted().salt.unwrap());
        assert_ne!(salts[0], salts[1]);
        for salt in salts {
            assert!(salt.len() == 32 && salt.bytes().all(|digit| digit.is_ascii_hexdigit()), "{salt}");
        }
    }
}
