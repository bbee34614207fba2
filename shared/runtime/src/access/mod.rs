//! Who is let in.
//!
//! - [`role`]: the four roles
//! - [`caller`]: who asks, and what the events say about them
//! - [`guard`]: what stands in front of every endpoint
//! - [`token_file`] and [`issuer`]: whose token it is
//! - [`session`]: the cookie that carries the token of a page

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use anyhow::ensure;
use axum::http::{HeaderMap, Method, StatusCode, header};
use clap::Args;
use tracing::warn;

pub mod caller;
pub mod guard;
pub mod issuer;
pub mod session;
pub mod token_file;

use caller::{Caller, unauthenticated};
use contract::role::Role;
use issuer::{Issuer, Refusal};
use token_file::TokenFile;

use crate::{http::problem::Problem, tasks::Tasks};

/// Whose tokens are accepted. Without any of these settings, everybody may do everything.
#[derive(Args, Clone, Debug, Default)]
pub struct Settings {
    /// File of access tokens, made with `command-api token`; it is read again when it changes.
    #[arg(long, env)]
    pub access_tokens: Option<PathBuf>,
    /// Address of an OpenID Connect issuer, as its tokens name it.
    #[arg(long, env)]
    pub oidc_issuer: Option<String>,
    /// Audience that tokens of the issuer have to be for.
    #[arg(long, env, default_value = "sales")]
    pub oidc_audience: String,
    /// Client id of the pages at the issuer, for which the tokens of their sessions are.
    #[arg(long, env)]
    pub oidc_client_id: Option<String>,
    /// Claim with the roles (customer, sales, auditor, operator); points lead into claims.
    #[arg(long, env, default_value = "roles")]
    pub oidc_roles_claim: String,
    /// Let everybody do everything although others than this machine may reach the address.
    #[arg(long, env)]
    pub open_access: bool,
}

/// Knows everybody by their token, or asks for none.
#[derive(Clone)]
pub struct Access(Arc<Known>);

struct Known {
    tokens: Option<Arc<TokenFile>>,
    issuer: Option<Arc<Issuer>>,
    audience: String,
    session_audience: Option<String>,
}

impl Access {
    /// Refuses to leave everything open where others may come.
    pub fn new(settings: &Settings, listen: SocketAddr, tasks: &mut Tasks) -> anyhow::Result<Self> {
        let tokens = settings.access_tokens.as_deref().map(TokenFile::open).transpose()?.map(Arc::new);
        let issuer = settings
            .oidc_issuer
            .clone()
            .map(|issuer| Issuer::new(issuer::Settings { issuer, roles_claim: settings.oidc_roles_claim.clone() }));
        let issuer = issuer.transpose()?.map(Arc::new);
        if tokens.is_none() && issuer.is_none() {
            ensure!(
                settings.open_access || listen.ip().is_loopback(),
                "LISTEN_ADDRESS {listen} can be reached by others, and nobody would be asked for a token: set ACCESS_TOKENS to a \
                 file that `command-api token` made, or OIDC_ISSUER, or OPEN_ACCESS=true if everybody may do everything"
            );
            warn!("Access is open: everybody who can reach this address may do everything");
        }
        if let Some(tokens) = tokens.clone() {
            let stop = tasks.stop_token();
            tasks.spawn("access tokens", async move {
                tokens.follow(stop).await;
                Ok(())
            });
        }
        if let Some(issuer) = issuer.clone() {
            let stop = tasks.stop_token();
            tasks.spawn("issuer", async move {
                issuer.follow(stop).await;
                Ok(())
            });
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

    /// Who sent a request, who has the role that it needs. A wrong token is refused even where none is needed: whoever sends one means
    /// to be somebody.
    pub async fn admit(&self, method: &Method, headers: &HeaderMap, needed: Role) -> Result<Caller, Problem> {
        let caller = self.caller(method, headers, needed).await?;
        caller.require(needed).map(|()| caller)
    }

    async fn caller(&self, method: &Method, headers: &HeaderMap, needed: Role) -> Result<Caller, Problem> {
        if self.is_open() {
            return Ok(Caller::of_open_access());
        }
        if headers.contains_key(header::AUTHORIZATION) {
            let Some(token) = bearer(headers) else {
                return Err(unauthenticated("The Authorization header is not `Bearer` and a token, once."));
            };
            return self.owner(token, Some(&self.0.audience)).await;
        }
        let Some(token) = session::token(headers) else { return Ok(Caller::anonymous()) };
        session::refuse_others_pages(method, headers)?;
        match self.session_owner(token).await {
            // A session that is over is none: customers go on buying.
            Err(problem) if problem.status() == StatusCode::UNAUTHORIZED => Ok(Caller::anonymous()),
            // Nor does it keep them from it that nobody can say yet whose it is.
            Err(_) if needed == Role::Customer => Ok(Caller::anonymous()),
            known => known,
        }
    }

    /// Whose session a token makes.
    pub async fn session_owner(&self, token: &str) -> Result<Caller, Problem> {
        self.owner(token, self.0.session_audience.as_deref()).await
    }

    async fn owner(&self, token: &str, audience: Option<&str>) -> Result<Caller, Problem> {
        if token.starts_with(token_file::PREFIX) {
            let found = self.0.tokens.as_ref().and_then(|tokens| tokens.find(token));
            return found.ok_or_else(|| unauthenticated("The access token is not known, or its time is over."));
        }
        let (Some(issuer), Some(audience)) = (&self.0.issuer, audience) else {
            return Err(unauthenticated("The token is none that is accepted here."));
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

    /// Where an issuer is asked that nobody has heard of yet.
    pub fn waiting_for_an_issuer() -> Access {
        let settings = issuer::Settings { issuer: "http://127.0.0.1:1".to_owned(), roles_claim: "roles".to_owned() };
        let (audience, session_audience) = ("sales".to_owned(), Some("pages".to_owned()));
        Access(Arc::new(Known {
            tokens: None,
            issuer: Some(Arc::new(Issuer::new(settings).unwrap())),
            audience,
            session_audience,
        }))
    }

    #[tokio::test]
    async fn an_issuer_that_does_not_answer_keeps_nobody_from_buying() {
        let access = waiting_for_an_issuer();
        let token = "eyJhbGciOiJFUzI1NiJ9.e30.AAAA";
        let status = async |name, value: String, needed| {
            let headers = [(name, value.parse().unwrap()), ("sec-fetch-site", "same-origin".parse().unwrap())];
            let headers = headers.map(|(name, value)| (header::HeaderName::from_static(name), value));
            let admitted = access.admit(&Method::POST, &headers.into_iter().collect(), needed).await;
            admitted.map(|caller| caller.subject).map_err(|problem| problem.status())
        };
        let session = format!("session={token}");
        assert_eq!(status("cookie", session.clone(), Role::Customer).await, Ok(None));
        let not_ready = Err(StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(status("cookie", session, Role::Sales).await, not_ready);
        assert_eq!(status("authorization", format!("Bearer {token}"), Role::Customer).await, not_ready);
    }
}
