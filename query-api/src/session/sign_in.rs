//! `/api/session/start` and `/api/session/callback`: the way to the issuer and back.

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

/// Holds what has to be known when the browser comes back.
const COOKIE: &str = "sign-in";
const SIGNED_IN: &str = "/sales.html";
const FAILED: &str = "/sales.html?sign-in=failed";
/// Above it, browsers drop a cookie without a word.
const MAX_COOKIE_BYTES: usize = 3800;

/// What the issuer sends back. It may send more.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Answer {
    /// Stands for the tokens.
    code: Option<String>,
    /// What the issuer was sent.
    state: Option<String>,
    /// Why there is no code.
    error: Option<String>,
}

/// Leads the browser to the issuer
#[utoipa::path(
    get,
    path = "/api/session/start",
    security(()),
    responses(
        (status = 303, description = "Sign in there"),
        (status = 404, description = "There is no issuer to sign in at", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The issuer has not answered yet", body = Problem,
            content_type = "application/problem+json", headers(("Retry-After" = u32, description = "Seconds"))),
    ),
)]
pub async fn start_sign_in(State(sign_in): State<Arc<SignIn>>, headers: HeaderMap) -> Result<Response, Problem> {
    let (address, attempt) = sign_in.start()?;
    // Sent along when the issuer leads the browser back here.
    let attempt = attempt.to_string();
    let cookie = session::new_cookie(&headers, COOKIE, &attempt, SameSite::Lax);
    Ok((set_cookies([cookie]), Redirect::to(&address)).into_response())
}

/// Where the issuer leads the browser back to
#[utoipa::path(
    get,
    path = "/api/session/callback",
    security(()),
    params(Answer),
    responses(
        (status = 303, description = "Back to the page, with a session if the issuer gave one"),
        (status = 400, description = "Invalid query parameter", body = Problem, content_type = "application/problem+json"),
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
            warn!(error = format!("{error:#}"), "A sign-in failed");
            (set_cookies([ended(&headers, COOKIE)]), Redirect::to(FAILED)).into_response()
        }
    }
}

async fn id_token(sign_in: &SignIn, headers: &HeaderMap, answer: Answer) -> anyhow::Result<String> {
    let attempt = session::cookie(headers, COOKIE).and_then(Attempt::parse);
    let attempt = attempt.ok_or_else(|| anyhow::anyhow!("the browser did not begin it here, or took too long"))?;
    if let Some(error) = answer.error {
        anyhow::bail!("the issuer says {error:?}");
    }
    let (Some(code), Some(state)) = (answer.code, answer.state) else { anyhow::bail!("the issuer sent no code") };
    let token = sign_in.finish(attempt, code, &state).await?;
    anyhow::ensure!(
        token.len() <= MAX_COOKIE_BYTES,
        "the token of the issuer is too long for a cookie: it carries too many claims"
    );
    Ok(token)
}
