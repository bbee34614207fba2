//! Signs licence keys: proofs of a purchase that can be verified offline.
//!
//! A licence key is a JWT signed with Ed25519. It is derived from the purchase's event alone, and the signature is deterministic, so its
//! bytes never change. After a key rotation, earlier purchases keep the key of their time.
//! Source: RFC 7519 (JWT), RFC 8037 (`EdDSA` in JOSE), RFC 7638 (key id).

use anyhow::{Context, anyhow, ensure};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::{DateTime, Utc};
use contract::{catalogue::License, event::EventId, receipt::Receipt};
use ed25519_dalek::{Signer, SigningKey, pkcs8::DecodePrivateKey};
use serde::Serialize;
use sha2::{Digest, Sha256};
use utoipa::ToSchema;

const ISSUER: &str = "urn:sales";
const ALGORITHM: &str = "EdDSA";
const KEY_TYPE: &str = "OKP";
const CURVE: &str = "Ed25519";
/// End of a key in the file; another one may follow.
const END: &str = "-----END PRIVATE KEY-----";

/// Signs licence keys.
pub struct LicenseSigner {
    current: Key,
    /// Former keys, the earliest first, each with the time of its replacement.
    former: Vec<(DateTime<Utc>, Key)>,
}

struct Key {
    secret: SigningKey,
    public: PublicKey,
}

/// A public key, as a JWK (RFC 7517).
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct PublicKey {
    #[schema(value_type = String, example = "OKP")]
    kty: &'static str,
    #[schema(value_type = String, example = "Ed25519")]
    crv: &'static str,
    /// The key, in base64url.
    x: String,
    /// Key id: the thumbprint of RFC 7638.
    kid: String,
    #[serde(rename = "use")]
    #[schema(value_type = String, example = "sig")]
    purpose: &'static str,
    #[schema(value_type = String, example = "EdDSA")]
    alg: &'static str,
}

#[derive(Serialize)]
struct Header<'a> {
    alg: &'static str,
    typ: &'static str,
    kid: &'a str,
}

#[derive(Serialize)]
struct Claims {
    iss: &'static str,
    sub: EventId,
    license: License,
    iat: i64,
}

impl Key {
    fn parse(pem: &str) -> anyhow::Result<Self> {
        let secret = SigningKey::from_pkcs8_pem(pem.trim())
            .map_err(|error| anyhow!("{error}"))
            .context("not an Ed25519 key in PEM (PKCS #8)")?;
        let x = URL_SAFE_NO_PAD.encode(secret.verifying_key().as_bytes());
        let members = format!(r#"{{"crv":"{CURVE}","kty":"{KEY_TYPE}","x":"{x}"}}"#);
        let kid = URL_SAFE_NO_PAD.encode(Sha256::digest(members));
        Ok(Self { secret, public: PublicKey { kty: KEY_TYPE, crv: CURVE, x, kid, purpose: "sig", alg: ALGORITHM } })
    }
}

impl LicenseSigner {
    /// Parses a file as written by `query-api key` or `openssl genpkey -algorithm ed25519`. Former keys may follow, each after a line with
    /// the time of its replacement, such as `until 2026-12-01T00:00:00Z`.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        let text = text.trim();
        let end = text.find(END).map_or(text.len(), |at| at + END.len());
        let (current, others) = text.split_at(end);
        ensure!(!current.starts_with("until"), "the first key is the current one and must not have an `until` line");
        let mut former = Vec::new();
        for other in others.split_inclusive(END) {
            let until = other.trim().strip_prefix("until ").and_then(|rest| rest.split_once('\n'));
            let (until, pem) = until.context("a former key has no `until` line before it")?;
            let until = DateTime::parse_from_rfc3339(until.trim())
                .context("expected a time such as 2026-12-01T00:00:00Z after `until`")?;
            former.push((until.to_utc(), Key::parse(pem)?));
        }
        former.sort_by_key(|(until, _)| *until);
        Ok(Self { current: Key::parse(current)?, former })
    }

    pub const fn current_public_key(&self) -> &PublicKey {
        &self.current.public
    }

    /// The current key, then the former ones, the latest first.
    pub fn public_keys(&self) -> impl Iterator<Item = &PublicKey> {
        let former = self.former.iter().rev().map(|(_, key)| &key.public);
        std::iter::once(self.current_public_key()).chain(former)
    }

    pub fn sign(&self, receipt: &Receipt) -> String {
        let Receipt { purchase_id, license, purchased_at, .. } = *receipt;
        let former = self.former.iter().find(|(until, _)| purchased_at < *until);
        let Key { secret, public } = former.map_or(&self.current, |(_, key)| key);
        let header = Header { alg: ALGORITHM, typ: "JWT", kid: &public.kid };
        let claims = Claims { iss: ISSUER, sub: purchase_id, license, iat: purchased_at.timestamp() };
        let signed = format!("{}.{}", encode(&header), encode(&claims));
        let signature = secret.sign(signed.as_bytes()).to_bytes();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

fn encode(part: &impl Serialize) -> String {
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(part).expect("it has only string keys"))
}

#[cfg(test)]
mod tests {
    use contract::money::Money;
    use jsonwebtoken::{Algorithm, DecodingKey, Validation, jwk::Jwk};
    use serde_json::{Value, json};
    use uuid::Uuid;

    use super::*;

    /// From RFC 8037, appendix A.
    const PEM: &str = "-----BEGIN PRIVATE KEY-----\n\
                       MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n\
                       -----END PRIVATE KEY-----\n";

    /// Signed by an implementation of RFC 8032 in another language.
    const GOLDEN: &str = "eyJhbGciOiJFZERTQSIsInR5cCI6IkpXVCIsImtpZCI6ImtQcktfcW14VldhWVZBOXd3QkY2SXVvM3ZWeno3VHhIQ1R3WEJ5Z3JTNGsifQ.\
                          eyJpc3MiOiJ1cm46c2FsZXMiLCJzdWIiOiIwMTkwYjBhMC0wMDAwLTcwMDAtODAwMC0wMDAwMDAwMDAwMDEiLCJsaWNlbnNlIjoicHJvIiwiaWF0IjoxNzk1NTUwNDAwfQ.\
                          9pGvvAPUzroSlcyDN_yFA66fxUiQkodQlrt3ZRLSbMz1KwN1HmsI4MC0kz46g5mNyf4SYKZZ1ph6sci1vpetBw";

    fn receipt() -> Receipt {
        Receipt {
            purchase_id: Uuid::from_u128(0x0190_b0a0_0000_7000_8000_0000_0000_0001).into(),
            position: 17.try_into().unwrap(),
            license: License::Pro,
            price: Money::eur(19_900),
            purchased_at: "2026-11-24T20:00:00.999999Z".parse().unwrap(),
        }
    }

    #[test]
    fn the_key_id_is_that_of_rfc_8037() {
        let public = serde_json::to_value(Key::parse(PEM).unwrap().public).unwrap();
        assert_eq!(
            public,
            json!({
                "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
                "kid": "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k", "use": "sig", "alg": "EdDSA",
            })
        );
    }

    /// Issued keys stay valid: these bytes must never change.
    #[test]
    fn the_bytes_of_a_licence_key_never_change() {
        assert_eq!(LicenseSigner::parse(PEM).unwrap().sign(&receipt()), GOLDEN);
    }

    #[test]
    fn another_library_verifies_a_licence_key_with_the_published_key() {
        let signer = LicenseSigner::parse(PEM).unwrap();
        let jwk: Jwk = serde_json::from_value(serde_json::to_value(signer.public_keys().next()).unwrap()).unwrap();
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.required_spec_claims.clear();
        validation.set_issuer(&["urn:sales"]);
        let key = DecodingKey::from_jwk(&jwk).unwrap();
        let verified = jsonwebtoken::decode::<Value>(&signer.sign(&receipt()), &key, &validation).unwrap();
        assert_eq!(verified.header.kid, jwk.common.key_id);
        assert_eq!(
            verified.claims,
            json!({ "iss": "urn:sales", "sub": "0190b0a0-0000-7000-8000-000000000001", "license": "pro", "iat": 1_795_550_400 })
        );
    }

    /// From RFC 8032, section 7.1, test 2.
    const ANOTHER: &str = "-----BEGIN PRIVATE KEY-----\n\
                           MC4CAQAwBQYDK2VwBCIEIEzNCJso/5banbbDRuwRTg9bijGfNaumJNqM9u1PuKb7\n\
                           -----END PRIVATE KEY-----\n";

    #[test]
    fn a_purchase_keeps_the_key_of_its_time() {
        let (golden, another) = (LicenseSigner::parse(PEM).unwrap(), LicenseSigner::parse(ANOTHER).unwrap());
        let last = format!("{ANOTHER}until 2026-11-24T20:00:01Z\n{PEM}");
        assert_eq!(LicenseSigner::parse(&last).unwrap().sign(&receipt()), GOLDEN);
        let too_late = format!("{ANOTHER}until 2026-11-24T20:00:00.999999Z\n{PEM}");
        assert_eq!(LicenseSigner::parse(&too_late).unwrap().sign(&receipt()), another.sign(&receipt()));
        // Former keys may be in any order.
        let several = format!("{ANOTHER}\nuntil 2026-12-01T00:00:00+01:00\n{ANOTHER}until 2026-11-25T00:00:00Z\n{PEM}");
        let signer = LicenseSigner::parse(&several).unwrap();
        assert_eq!(signer.sign(&receipt()), GOLDEN);
        let names: Vec<_> = signer.public_keys().map(|key| &*key.kid).collect();
        assert_eq!(names, [&*another.current.public.kid, &another.current.public.kid, &golden.current.public.kid]);
    }

    #[test]
    fn an_invalid_key_is_rejected_and_not_shown_in_the_error() {
        let texts = [
            String::new(),
            "secret word".to_owned(),
            PEM.replace("MC4CAQAwBQYDK2Vw", "MC4CAQAwBQYDK2Vu"),
            format!("until 2026-12-01T00:00:00Z\n{PEM}"),
            format!("{PEM}{ANOTHER}"),
            format!("{PEM}secret word"),
            format!("{PEM}until secret word\n{ANOTHER}"),
            format!("{PEM}until 2026-12-01T00:00:00Z\nsecret word"),
        ];
        for text in &texts {
            let error = format!("{:#}", LicenseSigner::parse(text).err().unwrap());
            assert!(!error.contains("secret word"), "{error}");
        }
    }
}
