//! Tokens of an OpenID Connect issuer: JWTs, verified with its published keys.
//!
//! Source: OpenID Connect Discovery 1.0, RFC 7517 (keys), RFC 7519 (claims), RFC 8725 (best practices).

use std::{sync::Arc, time::Duration};

use anyhow::{Context, ensure};
use jsonwebtoken::{
    Algorithm, DecodingKey, Validation, decode, decode_header,
    jwk::{Jwk, JwkSet},
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

use super::caller::{ANONYMOUS, Caller};
use crate::{backoff::Backoff, log_events};
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
    keys: JwkSet,
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
        let mut backoff = Backoff::default();
        let mut is_known = false;
        loop {
            let wait = async {
                match self.discover().await {
                    Ok(published) => {
                        if !is_known {
                            info!(
                                event.name = log_events::ISSUER_AVAILABLE,
                                issuer = self.name,
                                keys = published.keys.keys.len(),
                                "Accepting tokens of the issuer"
                            );
                        }
                        is_known = true;
                        backoff.reset();
                        self.published.send_replace(Some(Arc::new(published)));
                        let _ = timeout(REFRESH_EVERY, self.wanted.notified()).await;
                    }
                    Err(error) => {
                        warn!(
                            event.name = log_events::ISSUER_UNAVAILABLE,
                            issuer = self.name,
                            error = format!("{error:#}"),
                            "The issuer is unavailable; retrying"
                        );
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
        let subject = claims["sub"].as_str().ok_or_else(|| Refusal::Invalid("it has no subject".to_owned()))?;
        if subject == ANONYMOUS {
            return Err(Refusal::Invalid(format!("its subject {subject} is reserved")));
        }
        Ok(Caller::named(subject, roles(&claims, &self.roles_claim)))
    }

    /// The claims of a token that this issuer made for the audience.
    pub async fn claims(&self, token: &str, audience: &str) -> Result<Value, Refusal> {
        let invalid = |error: jsonwebtoken::errors::Error| Refusal::Invalid(error.to_string());
        let header = decode_header(token).map_err(invalid)?;
        if !ALGORITHMS.contains(&header.alg) {
            return Err(Refusal::Invalid(format!("{:?} is not an accepted algorithm", header.alg)));
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
        let key = match known.find(id, algorithm) {
            Some(key) => Some(key),
            // The issuer may have rotated its keys.
            None if known.read_at.elapsed() > REFRESH_AT_MOST_EVERY => {
                self.wanted.notify_one();
                let _ = timeout(NEW_KEY_WAIT, published.changed()).await;
                published.borrow().as_ref().and_then(|known| known.find(id, algorithm))
            }
            None => None,
        };
        key.ok_or_else(|| Refusal::Invalid("no key of the issuer signed it".to_owned()))
    }
}

impl Published {
    fn find(&self, id: Option<&str>, algorithm: Algorithm) -> Option<DecodingKey> {
        let fits = |key: &&Jwk| {
            key.common
                .key_algorithm
                .is_none_or(|known| known.to_string().parse().is_ok_and(|known: Algorithm| known == algorithm))
                && match id {
                    Some(id) => key.common.key_id.as_deref() == Some(id),
                    None => self.keys.keys.len() == 1,
                }
        };
        self.keys.keys.iter().find(fits).and_then(|key| DecodingKey::from_jwk(key).ok())
    }
}

/// The roles in a claim: a list, or one string separated by blanks or commas. Dots in the claim's name descend into nested
/// claims. Unknown roles belong to other systems.
fn roles(claims: &Value, claim: &str) -> Vec<Role> {
    let nested = || claim.split('.').try_fold(claims, |value, name| value.get(name));
    match claims.get(claim).or_else(nested) {
        Some(Value::Array(names)) => names.iter().filter_map(|name| name.as_str()?.parse().ok()).collect(),
        Some(Value::String(names)) => names.split([' ', ',']).filter_map(|name| name.parse().ok()).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn roles_are_found_where_issuers_put_them() {
        for (claims, claim) in [
            (json!({ "roles": ["sales", "admin", "operator"] }), "roles"),
            (json!({ "roles": "sales operator" }), "roles"),
            (json!({ "realm_access": { "roles": ["sales", "operator", 7] } }), "realm_access.roles"),
            (json!({ "https://shop.example/roles": "sales,operator" }), "https://shop.example/roles"),
        ] {
            assert_eq!(roles(&claims, claim), [Role::Sales, Role::Operator], "{claims}");
        }
        for claims in [json!({}), json!({ "roles": null }), json!({ "roles": { "sales": true } })] {
            assert_eq!(roles(&claims, "roles"), [], "{claims}");
        }
    }
}
