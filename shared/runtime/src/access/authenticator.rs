//! From a request to its caller.

use std::{net::SocketAddr, sync::Arc};

use anyhow::ensure;
use axum::http::{HeaderMap, Method, StatusCode, header};
use contract::role::Role;
use tracing::warn;

use super::{
    caller::{Caller, unauthenticated},
    issuer::{Issuer, Refusal},
    session,
    settings::Settings,
    token_file::{self, TokenFile},
};
use crate::{http::problem::Problem, log_events, tasks::Tasks};

/// The accepted tokens; without any, access is open. Clones share them.
#[derive(Clone)]
pub struct Access(Arc<Known>);

struct Known {
    tokens: Option<Arc<TokenFile>>,
    issuer: Option<Arc<Issuer>>,
    audience: String,
    session_audience: Option<String>,
}

impl Access {
    /// Refuses open access on an address that other machines can reach.
    pub fn new(settings: &Settings, listen: SocketAddr, tasks: &mut Tasks) -> anyhow::Result<Self> {
        let tokens = settings.access_tokens.as_deref().map(TokenFile::open).transpose()?.map(Arc::new);
        let issuer = settings.oidc_issuer.clone().map(|name| Issuer::new(name, settings.oidc_roles_claim.clone()));
        let issuer = issuer.transpose()?.map(Arc::new);
        if tokens.is_none() && issuer.is_none() {
            ensure!(
                settings.open_access || listen.ip().is_loopback(),
                "other machines can reach LISTEN_ADDRESS {listen}, and no token would be required: set ACCESS_TOKENS to a \
                 file made by `command-api token`, or OIDC_ISSUER, or OPEN_ACCESS=true to grant every role to every caller"
            );
            warn!(event.name = log_events::ACCESS_OPEN, "Access is open: every caller has every role");
        }
        if let Some(tokens) = tokens.clone() {
            tasks.spawn("access tokens", |stop| tokens.follow(stop));
        }
        if let Some(issuer) = issuer.clone() {
            tasks.spawn("issuer", |stop| issuer.follow(stop));
        }
        let (audience, session_audience) = (settings.oidc_audience.clone(), settings.oidc_client_id.clone());
        Ok(Self(Arc::new(Known { tokens, issuer, audience, session_audience })))
    }

    pub fn is_open(&self) -> bool {
        self.0.tokens.is_none() && self.0.issuer.is_none()
    }

    pub fn takes_tokens(&self) -> bool {
        self.0.tokens.is_some()
    }

    pub fn issuer(&self) -> Option<&Issuer> {
        self.0.issuer.as_deref()
    }

    /// The caller of a request, if it has the needed role. A wrong token is refused even where none is needed: its sender
    /// expects more than a customer's rights.
    pub async fn authorize(&self, method: &Method, headers: &HeaderMap, needed: Role) -> Result<Caller, Problem> {
        let caller = self.caller(method, headers, needed).await?;
        caller.require(needed).map(|()| caller)
    }

    async fn caller(&self, method: &Method, headers: &HeaderMap, needed: Role) -> Result<Caller, Problem> {
        if self.is_open() {
            return Ok(Caller::of_open_access());
        }
        if headers.contains_key(header::AUTHORIZATION) {
            let Some(token) = bearer(headers) else {
                return Err(unauthenticated(
                    "The Authorization header must be `Bearer` and a token, and be sent once.",
                ));
            };
            return self.owner(token, Some(&self.0.audience)).await;
        }
        let Some(token) = session::token(headers) else { return Ok(Caller::anonymous()) };
        session::reject_cross_site(method, headers)?;
        match self.session_owner(token).await {
            // An expired session counts as none: customers can still buy.
            Err(problem) if problem.status() == StatusCode::UNAUTHORIZED => Ok(Caller::anonymous()),
            // So does one that the issuer's keys cannot verify yet.
            Err(_) if needed == Role::Customer => Ok(Caller::anonymous()),
            known => known,
        }
    }

    /// The owner of a session token.
    pub async fn session_owner(&self, token: &str) -> Result<Caller, Problem> {
        self.owner(token, self.0.session_audience.as_deref()).await
    }

    async fn owner(&self, token: &str, audience: Option<&str>) -> Result<Caller, Problem> {
        if token.starts_with(token_file::PREFIX) {
            let found = self.0.tokens.as_ref().and_then(|tokens| tokens.find(token));
            return found.ok_or_else(|| unauthenticated("The access token is unknown or expired."));
        }
        let (Some(issuer), Some(audience)) = (&self.0.issuer, audience) else {
            return Err(unauthenticated("Tokens of this kind are not accepted here."));
        };
        issuer.verify(token, audience).await.map_err(|refusal| match refusal {
            Refusal::NotReady => Problem::unavailable(refusal.to_string()),
            Refusal::Invalid(_) => unauthenticated(&refusal.to_string()),
        })
    }
}

/// The token of an `Authorization: Bearer` header (RFC 6750).
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = values.next().filter(|_| values.next().is_none())?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Access with an issuer that has never answered.
    pub fn without_issuer_keys() -> Access {
        let issuer = Issuer::new("http://127.0.0.1:1".to_owned(), "roles".to_owned()).unwrap();
        let (audience, session_audience) = ("sales".to_owned(), Some("pages".to_owned()));
        Access(Arc::new(Known { tokens: None, issuer: Some(Arc::new(issuer)), audience, session_audience }))
    }

    #[tokio::test]
    async fn customers_can_buy_while_the_issuer_does_not_answer() {
        let access = without_issuer_keys();
        let token = "eyJhbGciOiJFUzI1NiJ9.e30.AAAA";
        let status = async |name, value: String, needed| {
            let headers = [(name, value.parse().unwrap()), ("sec-fetch-site", "same-origin".parse().unwrap())];
            let headers = headers.map(|(name, value)| (header::HeaderName::from_static(name), value));
            let authorized = access.authorize(&Method::POST, &headers.into_iter().collect(), needed).await;
            authorized.map(|caller| caller.subject).map_err(|problem| problem.status())
        };
        let session = format!("session={token}");
        assert_eq!(status("cookie", session.clone(), Role::Customer).await, Ok(None));
        let not_ready = Err(StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(status("cookie", session, Role::Sales).await, not_ready);
        assert_eq!(status("authorization", format!("Bearer {token}"), Role::Customer).await, not_ready);
    }
}
