//! The identity of a command: the `Idempotency-Key` header of the IETF httpapi draft.

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, request::Parts},
};
use contract::{
    event::{EventId, Metadata},
    role::Role,
};
use runtime::{http::problem::Problem, traces};
use uuid::{Uuid, uuid};

const HEADER: &str = "idempotency-key";
/// Room for a UUID, an order number or a hash in any notation.
const MAX_KEY_CHARACTERS: usize = 255;
/// Random name space in which a key that is not a UUID maps to a UUID (version 5).
const KEY_NAMESPACE: Uuid = uuid!("6d9f3c0e-2f0b-4a57-9d3a-3f1f7f0c8a52");

/// The identity of a command, which becomes the id of its event, and the metadata of its request.
#[derive(Debug)]
pub struct CommandIdentity {
    pub event_id: EventId,
    /// Without the actor, which depends on the command.
    pub metadata: Metadata,
}

impl CommandIdentity {
    /// The metadata of an event that an actor caused, in this role.
    pub fn caused_by(self, actor: Option<(String, Role)>) -> Metadata {
        let (actor, actor_role) = actor.unzip();
        Metadata { actor, actor_role, ..self.metadata }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for CommandIdentity {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let (event_id, idempotency_key) = match idempotency_key(&parts.headers)? {
            None => (EventId::generate(), None),
            Some(key) => (event_id(key), as_uuid(key).is_none().then(|| key.to_owned())),
        };
        let metadata =
            Metadata { traceparent: traces::requested(&parts.headers), idempotency_key, ..Metadata::default() };
        Ok(Self { event_id, metadata })
    }
}

/// The key, without the quotes of the draft's structured header. A bare key is accepted too. The characters that have a
/// meaning in a structured header are refused: a proxy may combine two headers into `a, b`, and an escape would make two
/// notations of one key.
fn idempotency_key(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let invalid = |detail: &str| {
        Err(Problem::bad_request("invalid-idempotency-key", "The Idempotency-Key header is invalid", detail))
    };
    let mut values = headers.get_all(HEADER).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return invalid("It must be sent once.");
    }
    let visible = value.to_str().ok().filter(|key| key.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
    let Some(key) = visible else { return invalid("It must consist of visible ASCII characters.") };
    let key = key.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(key);
    if key.contains(',') {
        return invalid("It must hold exactly one key, without a comma.");
    }
    if key.contains(['"', '\\']) || key.trim() != key {
        return invalid("A key must not contain quotes or backslashes, nor begin or end with a space.");
    }
    match key.len() {
        0 => invalid("It must not be empty."),
        1..=MAX_KEY_CHARACTERS => Ok(Some(key)),
        _ => invalid("It must not be longer than 255 characters."),
    }
}

/// The key itself if it is a UUID, otherwise its UUID version 5.
fn event_id(key: &str) -> EventId {
    as_uuid(key).unwrap_or_else(|| Uuid::new_v5(&KEY_NAMESPACE, key.as_bytes())).into()
}

/// A UUID in any of its usual notations: with or without hyphens, in braces, as a URN, in either case. All of them are the
/// same key, so that a client that changes the notation between two attempts does not buy twice.
fn as_uuid(key: &str) -> Option<Uuid> {
    const URN: &str = "urn:uuid:";
    let is_urn = key.get(..URN.len()).is_some_and(|prefix| prefix.eq_ignore_ascii_case(URN));
    let digits = if is_urn { &key[URN.len()..] } else { key };
    let digits = digits.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).unwrap_or(digits);
    digits.starts_with(|first: char| first.is_ascii_hexdigit()).then(|| Uuid::try_parse(digits).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::{HeaderValue, Request};

    async fn identity(headers: &[(&'static str, &[u8])]) -> Result<CommandIdentity, Problem> {
        let mut parts = Request::new(()).into_parts().0;
        for (name, value) in headers {
            parts.headers.append(*name, HeaderValue::from_bytes(value).unwrap());
        }
        CommandIdentity::from_request_parts(&mut parts, &()).await
    }

    #[tokio::test]
    async fn a_uuid_as_key_is_the_event_id_itself() {
        let plain = identity(&[(HEADER, b"8e03978e-40d5-43dd-bc93-6894a57f9324")]).await.unwrap();
        assert_eq!(plain.event_id.to_string(), "8e03978e-40d5-43dd-bc93-6894a57f9324");
        assert_eq!(plain.metadata, Metadata::default());
        let quoted = identity(&[(HEADER, b"\"8E03978E-40D5-43DD-BC93-6894A57F9324\"")]).await.unwrap();
        assert_eq!(quoted.event_id, plain.event_id);
    }

    #[tokio::test]
    async fn all_notations_of_a_uuid_are_the_same_key() {
        let plain = identity(&[(HEADER, b"8e03978e-40d5-43dd-bc93-6894a57f9324")]).await.unwrap();
        for notation in [
            "8e03978e40d543ddbc936894a57f9324",
            "8E03978E40D543DDBC936894A57F9324",
            "{8e03978e-40d5-43dd-bc93-6894a57f9324}",
            "{8e03978e40d543ddbc936894a57f9324}",
            "urn:uuid:8e03978e-40d5-43dd-bc93-6894a57f9324",
            "URN:UUID:8E03978E-40D5-43DD-BC93-6894A57F9324",
            "\"urn:uuid:8e03978e-40d5-43dd-bc93-6894a57f9324\"",
        ] {
            let found = identity(&[(HEADER, notation.as_bytes())]).await.unwrap();
            assert_eq!(found.event_id, plain.event_id, "{notation}");
            assert_eq!(found.metadata, Metadata::default(), "{notation}");
        }
    }

    #[tokio::test]
    async fn any_other_key_maps_to_one_event_id_and_is_kept_in_the_metadata() {
        let first = identity(&[(HEADER, b"order 17")]).await.unwrap();
        let second = identity(&[(HEADER, b"order 17")]).await.unwrap();
        assert_eq!(first.event_id, second.event_id);
        assert_eq!(first.metadata.idempotency_key.as_deref(), Some("order 17"));
        assert_ne!(first.event_id, identity(&[(HEADER, b"order 18")]).await.unwrap().event_id);
        // A published key must always map to the same purchase: this value is golden.
        assert_eq!(first.event_id.to_string(), "6fc0f3aa-7241-54aa-9769-573fb5fb4f78");
    }

    #[tokio::test]
    async fn without_a_key_every_command_is_new() {
        assert_ne!(identity(&[]).await.unwrap().event_id, identity(&[]).await.unwrap().event_id);
    }

    #[tokio::test]
    async fn an_invalid_key_is_rejected() {
        let long = [b'k'; MAX_KEY_CHARACTERS + 1];
        let lists = [&b"two1, two2"[..], b"\"two1, two2\"", b"\"two1\", \"two2\"", b"\"two1\",\"two2\"", b"two1,"];
        let unquoted = [&b"\""[..], b"\"open", b"closed\"", b"\"a\";b=1", b"\"a\\\"b\"", b"a\\b", b"\" a\""];
        for bad in [&b""[..], b"\"\"", b"caf\xc3\xa9", b"tab\there", &long].into_iter().chain(lists).chain(unquoted) {
            assert!(identity(&[(HEADER, bad)]).await.is_err(), "{bad:?} was accepted");
        }
        assert!(identity(&[(HEADER, b"one"), (HEADER, b"two")]).await.is_err());
        assert!(identity(&[(HEADER, &long[1..])]).await.is_ok());
    }

    #[test]
    fn any_bytes_sent_as_a_key_map_to_one_event_id_or_are_rejected() {
        use proptest::{prelude::*, test_runner::FileFailurePersistence};
        let of = |key: &[u8]| {
            let value = HeaderValue::from_bytes(key).ok()?;
            let mut headers = HeaderMap::new();
            headers.append(HEADER, value);
            let key = idempotency_key(&headers).ok()??;
            Some((key.to_owned(), event_id(key)))
        };
        let uuid = (any::<u128>(), 0..4).prop_map(|(bits, notation)| {
            let uuid = Uuid::from_u128(bits);
            let text = match notation {
                0 => uuid.hyphenated().to_string(),
                1 => uuid.simple().to_string(),
                2 => uuid.braced().to_string(),
                _ => uuid.urn().to_string(),
            };
            text.into_bytes()
        });
        let key = || {
            let any_bytes = prop::collection::vec(any::<u8>(), 0..300);
            let visible = prop::collection::vec(b' '..=b'~', 0..300);
            prop_oneof![any_bytes, visible, uuid.clone()]
        };
        let counterexamples = FileFailurePersistence::Direct("tests/counterexamples.txt");
        let config = ProptestConfig::with_failure_persistence(counterexamples);
        proptest!(config, |(a in key(), b in key())| {
            let (Some((key_a, id_a)), Some((key_b, id_b))) = (of(&a), of(&b)) else { return Ok(()) };
            prop_assert_eq!(of(&a).unwrap().1, id_a);
            prop_assert!((1..=MAX_KEY_CHARACTERS).contains(&key_a.len()));
            let same = as_uuid(&key_a).is_some() && as_uuid(&key_a) == as_uuid(&key_b) || key_a == key_b;
            prop_assert_eq!(id_a == id_b, same, "{} and {}", key_a, key_b);
        });
    }

    #[tokio::test]
    async fn only_a_valid_trace_context_is_kept() {
        let valid = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let kept = identity(&[("traceparent", valid.as_bytes())]).await.unwrap();
        assert_eq!(kept.metadata.traceparent.as_deref(), Some(valid));
        for bad in ["", "00-zz", &valid.replace("00-4", "01-4"), &valid.replace('4', "G"), &valid[1..]] {
            let ignored = identity(&[("traceparent", bad.as_bytes())]).await.unwrap();
            assert_eq!(ignored.metadata.traceparent, None, "{bad} was kept");
        }
    }
}
