//! Sign-in at an OpenID Connect issuer: the authorization code flow with PKCE and a nonce.
//!
//! The session is the ID token itself: every replica of every service can verify it alone, and it expires when the issuer says.
//! Source: OpenID Connect Core 1.0, section 3.1; RFC 7636 (PKCE); OpenID Connect RP-Initiated Logout 1.0.

use anyhow::{Context, anyhow, ensure};
use axum::http::StatusCode;
use clap::Args;
use oauth2::{
    AuthUrl, AuthorizationCode, Client, ClientId, ClientSecret, CsrfToken, EndpointNotSet, EndpointSet,
    ExtraTokenFields, HttpRequest, HttpResponse, PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, Scope,
    StandardRevocableToken, StandardTokenResponse, TokenUrl,
    basic::{BasicErrorResponse, BasicRevocationErrorResponse, BasicTokenIntrospectionResponse, BasicTokenType},
};
use reqwest::Url;
use runtime::{
    access::{Access, issuer::Issuer, token_file},
    http::problem::Problem,
};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;

/// Settings of the sign-in at the issuer.
#[derive(Args, Clone, Debug, Default)]
#[group(skip)]
pub struct Settings {
    /// Client secret of the pages at the issuer.
    #[arg(long, env, hide_env_values = true)]
    pub oidc_client_secret: Option<String>,
    /// Scopes to request besides `openid`, separated by spaces.
    #[arg(long, env, default_value = "")]
    pub oidc_scopes: String,
    /// Public address of the pages, such as `https://sales.example.com`.
    #[arg(long, env)]
    pub public_url: Option<Url>,
}

/// The ways to sign in.
pub struct SignIn {
    pub access: Access,
    /// With the codes of addresses that sign in.
    pub event_store: PgPool,
    client: Option<PagesClient>,
}

/// The pages as a client of the issuer.
struct PagesClient {
    id: ClientId,
    secret: Option<ClientSecret>,
    scopes: Vec<Scope>,
    public_url: Url,
}

/// The ID token in the token response.
#[derive(Debug, Deserialize, Serialize)]
struct IdToken {
    id_token: Option<String>,
}

impl ExtraTokenFields for IdToken {}

type CodeClient = Client<
    BasicErrorResponse,
    StandardTokenResponse<IdToken, BasicTokenType>,
    BasicTokenIntrospectionResponse,
    StandardRevocableToken,
    BasicRevocationErrorResponse,
    EndpointSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointSet,
>;

/// A sign-in in progress, kept in a cookie of the browser that is named after its state.
pub struct Attempt {
    pub state: String,
    nonce: String,
    verifier: String,
}

impl Attempt {
    pub fn parse(state: &str, secrets: &str) -> Option<Self> {
        let (nonce, verifier) = secrets.split_once('.')?;
        Some(Self { state: state.to_owned(), nonce: nonce.to_owned(), verifier: verifier.to_owned() })
    }

    /// Nonce and PKCE verifier, for the cookie of the browser that started the sign-in.
    pub fn secrets(&self) -> String {
        format!("{}.{}", self.nonce, self.verifier)
    }
}

impl SignIn {
    pub fn new(
        access: Access,
        event_store: PgPool,
        client_id: Option<&str>,
        settings: &Settings,
    ) -> anyhow::Result<Self> {
        let client = client_id.map(|id| {
            let public_url = settings.public_url.clone();
            anyhow::Ok(PagesClient {
                id: ClientId::new(id.to_owned()),
                secret: settings.oidc_client_secret.clone().map(ClientSecret::new),
                scopes: settings.oidc_scopes.split_whitespace().map(|scope| Scope::new(scope.to_owned())).collect(),
                public_url: public_url
                    .context("OIDC_CLIENT_ID needs PUBLIC_URL, where the issuer leads browsers back to")?,
            })
        });
        Ok(Self { access, event_store, client: client.transpose()? })
    }

    pub fn has_issuer(&self) -> bool {
        self.client.is_some() && self.access.issuer().is_some()
    }

    /// Where the browser goes to sign in.
    pub fn start(&self) -> Result<(String, Attempt), Problem> {
        let (Some(client), Some(issuer)) = (&self.client, self.access.issuer()) else {
            let detail = "No OpenID Connect issuer is configured. Sign in with a token.";
            return Err(Problem::new(StatusCode::NOT_FOUND, "no-issuer", "No issuer is configured", detail));
        };
        let code_client = client.at(issuer).ok_or_else(|| {
            Problem::unavailable("The issuer has not responded yet, or offers no sign-in. Try again.")
        })?;
        let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
        let nonce = CsrfToken::new_random().into_secret();
        let (address, state) = code_client
            .authorize_url(CsrfToken::new_random)
            .add_scope(Scope::new("openid".to_owned()))
            .add_scopes(client.scopes.iter().cloned())
            .add_extra_param("nonce", &nonce)
            .set_pkce_challenge(challenge)
            .url();
        let attempt = Attempt { state: state.into_secret(), nonce, verifier: verifier.into_secret() };
        Ok((address.into(), attempt))
    }

    /// Exchanges the code that the issuer gave the browser for the ID token.
    pub async fn finish(&self, attempt: Attempt, code: String) -> anyhow::Result<String> {
        let (Some(client), Some(issuer)) = (&self.client, self.access.issuer()) else {
            return Err(anyhow!("no issuer is configured"));
        };
        let code_client = client.at(issuer).context("the issuer does not respond")?;
        let http = issuer.http().clone();
        let exchange = code_client
            .exchange_code(AuthorizationCode::new(code))
            .set_pkce_verifier(PkceCodeVerifier::new(attempt.verifier));
        let tokens = exchange
            .request_async(&|request| send(http.clone(), request))
            .await
            .context("the issuer rejects the code")?;
        let token = tokens.extra_fields().id_token.clone().context("the issuer sent no ID token")?;
        let claims = issuer.claims(&token, client.id.as_str()).await?;
        ensure!(claims["nonce"] == attempt.nonce.as_str(), "the ID token is for another sign-in");
        // A session that every request would refuse must not begin.
        issuer.owner(&claims)?;
        Ok(token)
    }

    /// Address at which the issuer ends its own session.
    pub fn end_at_issuer(&self, token: &str) -> Option<String> {
        let (client, issuer) = self.client.as_ref().zip(self.access.issuer())?;
        if token.starts_with(token_file::PREFIX) {
            return None;
        }
        let mut address: Url = issuer.endpoints()?.end_session_endpoint?.parse().ok()?;
        let back = client.public_url.join("/sales.html").ok()?;
        address
            .query_pairs_mut()
            .append_pair("client_id", &client.id)
            .append_pair("post_logout_redirect_uri", back.as_str());
        Some(address.into())
    }
}

impl PagesClient {
    fn at(&self, issuer: &Issuer) -> Option<CodeClient> {
        let endpoints = issuer.endpoints()?;
        let back = self.public_url.join("/api/session/callback").ok()?;
        let mut client = Client::new(self.id.clone())
            .set_auth_uri(AuthUrl::new(endpoints.authorization_endpoint?).ok()?)
            .set_token_uri(TokenUrl::new(endpoints.token_endpoint?).ok()?)
            .set_redirect_uri(RedirectUrl::from_url(back));
        if let Some(secret) = self.secret.clone() {
            client = client.set_client_secret(secret);
        }
        Some(client)
    }
}

/// Lets `oauth2` use our HTTP client.
async fn send(http: reqwest::Client, request: HttpRequest) -> Result<HttpResponse, reqwest::Error> {
    let response = http.execute(request.try_into()?).await?;
    let mut answer = HttpResponse::new(Vec::new());
    *answer.status_mut() = response.status();
    *answer.headers_mut() = response.headers().clone();
    *answer.body_mut() = response.bytes().await?.into();
    Ok(answer)
}
