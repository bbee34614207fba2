//! `/api/session/start` and `/api/session/callback`: to the issuer and back.

use std::sync::Arc;

use axum::{
    extract::State,
    http::HeaderMap,
    response::{IntoResponse, Redirect, Response},
};
use cookie::SameSite;
use runtime::{
    access::session,
    http::problem::{Problem, Query},
};
use serde::Deserialize;
use tracing::warn;
use utoipa::IntoParams;

use super::{
    cookies::{ended, set_cookies},
    oidc::{Attempt, SignIn},
};

/// Holds the [`Attempt`] until the browser comes back.
const COOKIE: &str = "sign-in";
const SIGNED_IN: &str = "/sales.html";
const FAILED: &str = "/sales.html?sign-in=failed";
/// Browsers silently drop larger cookies.
const MAX_COOKIE_BYTES: usize = 3800;

/// What the issuer sends back. Other parameters are ignored.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Answer {
    /// Code to exchange for tokens.
    code: Option<String>,
    /// The state that the issuer was sent.
    state: Option<String>,
    /// Error code if there is no code.
    error: Option<String>,
}

/// Redirects the browser to the issuer
#[utoipa::path(
    get,
    path = "/api/session/start",
    security(()),
    responses(
        (status = 303, description = "To the issuer"),
        (status = 404, description = "No issuer is configured"),
        (status = 503, description = "The issuer has not responded yet"),
    ),
)]
pub async fn start_sign_in(State(sign_in): State<Arc<SignIn>>, headers: HeaderMap) -> Result<Response, Problem> {
    let (address, attempt) = sign_in.start()?;
    // Lax: the redirect back from the issuer is a cross-site navigation.
    let attempt = attempt.to_string();
    let cookie = session::new_cookie(&headers, COOKIE, &attempt, SameSite::Lax);
    Ok((set_cookies([cookie]), Redirect::to(&address)).into_response())
}

/// Where the issuer redirects the browser back to
#[utoipa::path(
    get,
    path = "/api/session/callback",
    security(()),
    params(Answer),
    responses(
        (status = 303, description = "To the page, with a session if the sign-in succeeded"),
        (status = 400, description = "Invalid query parameter"),
    ),
)]
pub async fn finish_sign_in(
    State(sign_in): State<Arc<SignIn>>,
    headers: HeaderMap,
    Query(answer): Query<Answer>,
) -> Response {
    match id_token(&sign_in, &headers, answer).await {
        Ok(token) => {
            let session = session::new_cookie(&headers, session::COOKIE, &token, SameSite::Strict);
            (set_cookies([session, ended(&headers, COOKIE)]), Redirect::to(SIGNED_IN)).into_response()
        }
        Err(error) => {
            warn!(error = format!("{error:#}"), "Sign-in failed");
            (set_cookies([ended(&headers, COOKIE)]), Redirect::to(FAILED)).into_response()
        }
    }
}

async fn id_token(sign_in: &SignIn, headers: &HeaderMap, answer: Answer) -> anyhow::Result<String> {
    let attempt = session::cookie(headers, COOKIE).and_then(Attempt::parse);
    let attempt = attempt.ok_or_else(|| anyhow::anyhow!("the browser has no cookie of a sign-in in progress"))?;
    if let Some(error) = answer.error {
        anyhow::bail!("the issuer reports {error:?}");
    }
    let (Some(code), Some(state)) = (answer.code, answer.state) else { anyhow::bail!("the issuer sent no code") };
    let token = sign_in.finish(attempt, code, &state).await?;
    anyhow::ensure!(
        token.len() <= MAX_COOKIE_BYTES,
        "the issuer's token is too long for a cookie: it has too many claims"
    );
    Ok(token)
}
