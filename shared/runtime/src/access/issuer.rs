//! Tokens of an OpenID Connect issuer: JWTs, verified with its published keys.
//!
//! Source: OpenID Connect Discovery 1.0, RFC 7517 (keys), RFC 7519 (claims), RFC 8725 (best practices).

use std::{sync::Arc, time::Duration};

use anyhow::{Context, ensure};
use jsonwebtoken::{
    Algorithm, DecodingKey, Validation, decode, decode_header,
    jwk::{Jwk, KeyOperations, PublicKeyUse},
};
use reqwest::{Client, redirect};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::caller::Caller;
use crate::{backoff::Backoff, log_events, run_loop::Reported};
use contract::role::Role;

/// Asymmetric ones alone: with any other, the public key would be enough to forge a token.
const ALGORITHMS: [Algorithm; 9] = [
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
];
/// Tolerated clock skew.
const LEEWAY_S: u64 = 10;
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
const REFRESH_EVERY: Duration = Duration::from_mins(5);
/// Limits the refreshes that tokens with unknown keys cause.
const REFRESH_AT_MOST_EVERY: Duration = Duration::from_secs(10);
/// How long a token with a new key waits for it.
const NEW_KEY_WAIT: Duration = Duration::from_secs(2);

/// The endpoints of the issuer.
#[derive(Clone, Debug, Deserialize)]
pub struct Endpoints {
    issuer: String,
    jwks_uri: String,
    pub authorization_endpoint: Option<String>,
    pub token_endpoint: Option<String>,
    pub end_session_endpoint: Option<String>,
}

/// The published configuration of the issuer.
struct Published {
    endpoints: Endpoints,
    keys: SigningKeys,
    read_at: Instant,
}

/// The reason why a token is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    #[error("The keys of the issuer are not available yet.")]
    NotReady,
    #[error("The token is not accepted: {0}.")]
    Invalid(String),
}

pub struct Issuer {
    /// URL of the issuer, as its tokens name it.
    name: String,
    roles_claim: String,
    http: Client,
    published: watch::Sender<Option<Arc<Published>>>,
    wanted: Notify,
}

impl Issuer {
    pub fn new(name: String, roles_claim: String) -> anyhow::Result<Self> {
        // A redirect would let another server answer for the issuer.
        let http = Client::builder().timeout(REQUEST_TIMEOUT).redirect(redirect::Policy::none()).build()?;
        Ok(Self { name, roles_claim, http, published: watch::Sender::new(None), wanted: Notify::new() })
    }

    pub const fn http(&self) -> &Client {
        &self.http
    }

    /// The endpoints; none before the first answer.
    pub fn endpoints(&self) -> Option<Endpoints> {
        self.published.borrow().as_ref().map(|published| published.endpoints.clone())
    }

    /// Keeps the keys up to date until stopped.
    pub async fn follow(self: Arc<Self>, stop: CancellationToken) -> anyhow::Result<()> {
        let (mut backoff, mut reported) = (Backoff::default(), Reported::default());
        let mut is_known = false;
        loop {
            let wait = async {
                match self.discover().await {
                    Ok(published) => {
                        if reported.recovered() || !is_known {
                            info!(
                                event.name = log_events::ISSUER_AVAILABLE,
                                issuer = self.name,
                                keys = published.keys.0.len(),
                                "Accepting tokens of the issuer"
                            );
                        }
                        is_known = true;
                        backoff.reset();
                        self.published.send_replace(Some(Arc::new(published)));
                        let _ = timeout(REFRESH_EVERY, self.wanted.notified()).await;
                    }
                    Err(error) => {
                        let error = format!("{error:#}");
                        if reported.failed(&error) {
                            warn!(
                                event.name = log_events::ISSUER_UNAVAILABLE,
                                issuer = self.name,
                                error,
                                "The issuer is unavailable; retrying"
                            );
                        }
                        backoff.wait().await;
                        sleep(Duration::from_secs(1)).await;
                    }
                }
            };
            if stop.run_until_cancelled(wait).await.is_none() {
                return Ok(());
            }
        }
    }

    async fn discover(&self) -> anyhow::Result<Published> {
        let issuer = self.name.trim_end_matches('/');
        let endpoints: Endpoints = self.get(&format!("{issuer}/.well-known/openid-configuration")).await?;
        ensure!(
            endpoints.issuer == self.name,
            "its configuration names the issuer {:?}; OIDC_ISSUER must match exactly",
            endpoints.issuer
        );
        let keys = self.get(&endpoints.jwks_uri).await?;
        Ok(Published { endpoints, keys, read_at: Instant::now() })
    }

    async fn get<T: DeserializeOwned>(&self, url: &str) -> anyhow::Result<T> {
        let response = self.http.get(url).send().await?.error_for_status()?;
        response.json().await.with_context(|| format!("the response of {url} does not conform to OpenID Connect"))
    }

    /// The owner of a token that this issuer made for the audience.
    pub async fn verify(&self, token: &str, audience: &str) -> Result<Caller, Refusal> {
        let claims = self.claims(token, audience).await?;
        self.owner(&claims)
    }

    /// The owner of a token with these claims.
    pub fn owner(&self, claims: &Value) -> Result<Caller, Refusal> {
        let subject = claims["sub"].as_str().ok_or_else(|| Refusal::Invalid("it has no subject".to_owned()))?;
        let owner = Caller::named(subject, roles(claims, &self.roles_claim));
        owner.map_err(|error| Refusal::Invalid(error.to_string()))
    }

    /// The claims of a token that this issuer made for the audience.
    pub async fn claims(&self, token: &str, audience: &str) -> Result<Value, Refusal> {
        let invalid = |error: jsonwebtoken::errors::Error| Refusal::Invalid(error.to_string());
        let header = decode_header(token).map_err(invalid)?;
        if !ALGORITHMS.contains(&header.alg) {
            return Err(Refusal::Invalid(format!("{:?} is not an accepted algorithm", header.alg)));
        }
        // RFC 7515, section 4.1.11: the issuer wants tokens refused by those who do not understand these extensions.
        if header.crit.is_some() {
            return Err(Refusal::Invalid("it has critical extensions".to_owned()));
        }
        let key = self.key(header.kid.as_deref(), header.alg).await?;
        let mut validation = Validation::new(header.alg);
        validation.set_issuer(&[&self.name]);
        validation.set_audience(&[audience]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        validation.validate_nbf = true;
        validation.leeway = LEEWAY_S;
        Ok(decode::<Value>(token, &key, &validation).map_err(invalid)?.claims)
    }

    async fn key(&self, id: Option<&str>, algorithm: Algorithm) -> Result<DecodingKey, Refusal> {
        let mut published = self.published.subscribe();
        let known = published.borrow_and_update().clone().ok_or(Refusal::NotReady)?;
        let key = match known.keys.find(id, algorithm) {
            Some(key) => Some(key),
            // The issuer may have rotated its keys.
            None if known.read_at.elapsed() > REFRESH_AT_MOST_EVERY => {
                self.wanted.notify_one();
                let _ = timeout(NEW_KEY_WAIT, published.changed()).await;
                published.borrow().as_ref().and_then(|known| known.keys.find(id, algorithm))
            }
            None => None,
        };
        key.ok_or_else(|| Refusal::Invalid("no key of the issuer signed it".to_owned()))
    }
}

/// A published set of keys (RFC 7517, section 5).
#[derive(Deserialize)]
struct KeySet {
    keys: Vec<Value>,
}

/// The keys of a set that verify signatures.
#[derive(Deserialize)]
#[serde(from = "KeySet")]
struct SigningKeys(Vec<Jwk>);

impl From<KeySet> for SigningKeys {
    /// Ignores other keys and members that cannot be read, as the RFC recommends: they do not invalidate the rest.
    fn from(set: KeySet) -> Self {
        let keys = set.keys.into_iter().filter_map(|member| serde_json::from_value::<Jwk>(member).ok());
        Self(keys.filter(|key| verifies_signatures(key) && DecodingKey::from_jwk(key).is_ok()).collect())
    }
}

fn verifies_signatures(Jwk { common, .. }: &Jwk) -> bool {
    let purpose = common.public_key_use.as_ref();
    let operations = common.key_operations.as_ref();
    purpose.is_none_or(|purpose| *purpose == PublicKeyUse::Signature)
        && operations.is_none_or(|operations| operations.contains(&KeyOperations::Verify))
}

impl SigningKeys {
    fn find(&self, id: Option<&str>, algorithm: Algorithm) -> Option<DecodingKey> {
        let fits = |key: &&Jwk| {
            key.common
                .key_algorithm
                .is_none_or(|known| known.to_string().parse().is_ok_and(|known: Algorithm| known == algorithm))
                && match id {
                    Some(id) => key.common.key_id.as_deref() == Some(id),
                    None => self.0.len() == 1,
                }
        };
        let keys = self.0.iter().filter(fits).filter_map(|key| DecodingKey::from_jwk(key).ok());
        // Keys of different types may share an id (RFC 7517, section 4.5).
        keys.into_iter().find(|key| key.family() == algorithm.family())
    }
}

/// The value of a claim. Dots separate the names of nested claims, and may be part of them: the longest name that leads to a
/// value is taken.
fn find<'a>(claims: &'a Value, path: &str) -> Option<&'a Value> {
    let nested = |(dot, _): (usize, &str)| find(claims.get(&path[..dot])?, &path[dot + 1..]);
    claims.get(path).or_else(|| path.rmatch_indices('.').find_map(nested))
}

/// The roles in a claim: a list, or one string separated by blanks or commas. Unknown roles belong to other systems.
fn roles(claims: &Value, claim: &str) -> Vec<Role> {
    match find(claims, claim) {
        Some(Value::Array(names)) => names.iter().filter_map(|name| name.as_str()?.parse().ok()).collect(),
        Some(Value::String(names)) => names.split([' ', ',']).filter_map(|name| name.parse().ok()).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use base64::{Engine, engine::general_purpose::STANDARD};
    use jsonwebtoken::{EncodingKey, Header, encode};
    use serde_json::json;

    use super::*;

    const NAME: &str = "https://issuer.example";
    /// From RFC 8037, appendix A.
    const PRIVATE_KEY: &str = "MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g";
    const PUBLIC_KEY: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";

    /// An issuer that has published this set of keys.
    fn issuer(keys: &Value) -> Issuer {
        let issuer = Issuer::new(NAME.to_owned(), "roles".to_owned()).unwrap();
        let endpoints = serde_json::from_value(json!({ "issuer": NAME, "jwks_uri": "" })).unwrap();
        let keys = serde_json::from_value(json!({ "keys": keys })).unwrap();
        issuer.published.send_replace(Some(Arc::new(Published { endpoints, keys, read_at: Instant::now() })));
        issuer
    }

    fn public_key(change: &Value) -> Value {
        let mut key = json!({ "kty": "OKP", "crv": "Ed25519", "kid": "1", "x": PUBLIC_KEY });
        key.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        key
    }

    fn token(subject: &str, change: impl FnOnce(&mut Header)) -> String {
        let mut header = Header::new(Algorithm::EdDSA);
        header.kid = Some("1".to_owned());
        change(&mut header);
        let exp = jsonwebtoken::get_current_timestamp() + 600;
        let claims = json!({ "iss": NAME, "aud": "sales", "sub": subject, "roles": "sales", "exp": exp });
        encode(&header, &claims, &EncodingKey::from_ed_der(&STANDARD.decode(PRIVATE_KEY).unwrap())).unwrap()
    }

    async fn subject(keys: &Value, token: &str) -> Result<String, String> {
        let owner = issuer(keys).verify(token, "sales").await;
        owner.map(|caller| caller.subject.unwrap().to_string()).map_err(|refusal| refusal.to_string())
    }

    #[tokio::test]
    async fn a_key_that_cannot_be_used_does_not_invalidate_the_others() {
        let genuine = token("alice", |_| ());
        for other in [
            json!(null),
            json!({ "kid": "1" }),
            json!({ "kty": "unheard-of", "kid": "1" }),
            json!({ "kty": "RSA", "kid": 7, "n": "AQAB", "e": "AQAB" }),
            json!({ "kty": "RSA", "kid": "1", "n": "AQAB", "e": "AQAB" }),
            public_key(&json!({ "x": "!" })),
        ] {
            let keys = json!([other, public_key(&json!({}))]);
            assert_eq!(subject(&keys, &genuine).await.as_deref(), Ok("alice"), "{other}");
        }
        // The only usable key needs no id.
        let without_id = token("alice", |header| header.kid = None);
        let keys = json!([null, public_key(&json!({ "use": "sig", "key_ops": ["verify"] }))]);
        assert_eq!(subject(&keys, &without_id).await.as_deref(), Ok("alice"));
    }

    #[tokio::test]
    async fn a_key_for_another_purpose_verifies_nothing() {
        for purpose in
            [json!({ "use": "enc" }), json!({ "use": "other" }), json!({ "key_ops": ["encrypt", "wrapKey"] })]
        {
            let refused = subject(&json!([public_key(&purpose)]), &token("alice", |_| ())).await;
            assert!(refused.unwrap_err().contains("no key of the issuer signed it"), "{purpose}");
        }
    }

    #[tokio::test]
    async fn a_token_with_critical_extensions_is_refused() {
        let keys = json!([public_key(&json!({}))]);
        for names in [vec![], vec!["exp".to_owned()], vec!["b64".to_owned()]] {
            let refused = subject(&keys, &token("alice", |header| header.crit = Some(names))).await;
            assert!(refused.unwrap_err().contains("critical"));
        }
    }

    #[tokio::test]
    async fn a_subject_that_does_not_belong_into_the_log_is_refused() {
        let keys = json!([public_key(&json!({}))]);
        let longest = "ü".repeat(255);
        assert_eq!(subject(&keys, &token(&longest, |_| ())).await, Ok(longest.clone()));
        for name in ["", " ", "anonymous", "a\0b", "a\nb", "a\u{85}b", "a\u{2028}b", &format!("{longest}a")] {
            assert!(subject(&keys, &token(name, |_| ())).await.unwrap_err().contains("subject"), "{name:?}");
        }
    }

    #[test]
    fn roles_are_found_where_issuers_put_them() {
        for (claims, claim) in [
            (json!({ "roles": ["sales", "admin", "operator"] }), "roles"),
            (json!({ "roles": "sales operator" }), "roles"),
            (json!({ "realm_access": { "roles": ["sales", "operator", 7] } }), "realm_access.roles"),
            (json!({ "https://shop.example/roles": "sales,operator" }), "https://shop.example/roles"),
            (
                json!({ "resource_access": { "sales.example": { "roles": ["sales", "operator"] }, "sales": {} } }),
                "resource_access.sales.example.roles",
            ),
            (json!({ "https://a.example/realm": { "x.y": "sales operator" } }), "https://a.example/realm.x.y"),
        ] {
            assert_eq!(roles(&claims, claim), [Role::Sales, Role::Operator], "{claims}");
        }
        for claims in [json!({}), json!({ "roles": null }), json!({ "roles": { "sales": true } })] {
            assert_eq!(roles(&claims, "roles"), [], "{claims}");
        }
    }
}
