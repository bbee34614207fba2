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
    log_limits::{Sampler, shorten},
};
use serde::Deserialize;
use tracing::warn;
use utoipa::IntoParams;

use super::{
    cookies::{ended, set_cookies},
    oidc::{Attempt, SignIn},
};

/// Begins the name of the cookie that holds an [`Attempt`] until the browser comes back. The attempt's state follows: sign-ins in
/// several windows do not disturb each other.
const COOKIE: &str = "sign-in-";
/// Cookies of abandoned attempts would add up beyond the limit of a request head.
const MAX_ATTEMPTS: usize = 8;
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
///
/// Only for links of this system's pages: a link on another site leads to the page, where the user may sign in.
#[utoipa::path(
    get,
    path = "/api/session/start",
    security(()),
    responses(
        (status = 303, description = "To the issuer, or from another site to the page"),
        (status = 404, description = "No issuer is configured"),
        (status = 503, description = "The issuer has not responded yet"),
    ),
)]
pub async fn start_sign_in(State(sign_in): State<Arc<SignIn>>, headers: HeaderMap) -> Result<Response, Problem> {
    if session::is_reported_cross_site(&headers) {
        return Ok(Redirect::to(SIGNED_IN).into_response());
    }
    let (address, attempt) = sign_in.start()?;
    let name = format!("{COOKIE}{}", attempt.state);
    // Lax: the redirect back from the issuer is a cross-site navigation.
    let cookie = session::new_cookie(&headers, &name, &attempt.secrets(), SameSite::Lax);
    let cookies = superseded(&headers).into_iter().map(|name| ended(&headers, name)).chain([cookie]);
    Ok((set_cookies(cookies), Redirect::to(&address)).into_response())
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
    let (name, attempt) = attempt_of(&headers, answer.state.as_deref()).unzip();
    let over = name.map(|name| ended(&headers, name));
    match id_token(&sign_in, attempt, answer).await {
        Ok(token) => {
            let session = session::new_cookie(&headers, session::COOKIE, &token, SameSite::Strict);
            (set_cookies(over.into_iter().chain([session])), Redirect::to(SIGNED_IN)).into_response()
        }
        Err(error) => {
            static SAMPLER: Sampler = Sampler::new();
            if let Some(left_out) = SAMPLER.admit() {
                warn!(error = shorten(&error), left_out, "Sign-in failed");
            }
            (set_cookies(over), Redirect::to(FAILED)).into_response()
        }
    }
}

/// The names of the browser's attempts.
fn attempts(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    session::cookies(headers).map(|(name, _)| name).filter(|name| name.starts_with(COOKIE))
}

/// Those that a new attempt ends.
fn superseded(headers: &HeaderMap) -> Vec<&str> {
    let earlier: Vec<_> = attempts(headers).collect();
    if earlier.len() < MAX_ATTEMPTS { Vec::new() } else { earlier }
}

/// The attempt with this state, and the name of its cookie.
fn attempt_of<'a>(headers: &'a HeaderMap, state: Option<&str>) -> Option<(&'a str, Attempt)> {
    let name = attempts(headers).find(|name| name.strip_prefix(COOKIE) == state)?;
    Some((name, Attempt::parse(state?, session::cookie(headers, name)?)?))
}

async fn id_token(sign_in: &SignIn, attempt: Option<Attempt>, answer: Answer) -> anyhow::Result<String> {
    let attempt = attempt.ok_or_else(|| anyhow::anyhow!("the browser has no cookie of this sign-in"))?;
    if let Some(error) = answer.error {
        anyhow::bail!("the issuer reports {error:?}");
    }
    let Some(code) = answer.code else { anyhow::bail!("the issuer sent no code") };
    let token = sign_in.finish(attempt, code).await?;
    anyhow::ensure!(
        token.len() <= MAX_COOKIE_BYTES,
        "the issuer's token is too long for a cookie: it has too many claims"
    );
    Ok(token)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn headers(cookies: &str) -> HeaderMap {
        HeaderMap::from_iter([(axum::http::header::COOKIE, HeaderValue::from_str(cookies).unwrap())])
    }

    #[test]
    fn each_attempt_has_a_cookie_of_its_own() {
        let headers = headers("session=s; sign-in-one=n1.v1; sign-in-two=n2.v2; sign-in=n3.v3");
        assert_eq!(attempts(&headers).collect::<Vec<_>>(), ["sign-in-one", "sign-in-two"]);
        assert_eq!(attempt_of(&headers, Some("two")).unwrap().1.secrets(), "n2.v2");
        for state in [None, Some("three"), Some(""), Some("on")] {
            assert!(attempt_of(&headers, state).is_none(), "{state:?}");
        }
    }

    #[test]
    fn a_new_attempt_ends_earlier_ones_only_if_there_are_many() {
        let cookies = |count: usize| (0..count).map(|n| format!("sign-in-{n}=n.v")).collect::<Vec<_>>().join("; ");
        assert_eq!(superseded(&headers(&cookies(MAX_ATTEMPTS - 1))).len(), 0);
        assert_eq!(superseded(&headers(&cookies(MAX_ATTEMPTS))).len(), MAX_ATTEMPTS);
    }
}
