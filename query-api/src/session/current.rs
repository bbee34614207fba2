//! `/api/session`: the session of a page. Scripts cannot read its token.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use contract::role::Role;
use cookie::SameSite;
use runtime::{
    access::{
        caller::{Caller, unauthenticated},
        session,
    },
    http::{body::JsonBody, problem::Problem},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    cookies::{ended, set_cookies},
    link,
    oidc::SignIn,
};

/// The current session, and how to start one.
#[derive(Serialize, ToSchema)]
pub struct Session {
    access: Openness,
    /// Ways to sign in; empty if access is open.
    sign_in: Vec<Way>,
    /// Null without a session.
    subject: Option<String>,
    /// Roles of the session; everyone is a customer.
    roles: Vec<Role>,
}

/// Whether tokens are required.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Openness {
    Open,
    Closed,
}

/// A way to sign in.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Way {
    /// `POST /api/session` with an access token.
    Token,
    /// `GET /api/session/start` redirects to the issuer.
    Issuer,
}

impl Session {
    fn of(sign_in: &SignIn, caller: &Caller) -> Json<Self> {
        let access = if sign_in.access.is_open() { Openness::Open } else { Openness::Closed };
        let ways = [(sign_in.access.takes_tokens(), Way::Token), (sign_in.has_issuer(), Way::Issuer)];
        Json(Self {
            access,
            sign_in: ways.into_iter().filter_map(|(there, way)| there.then_some(way)).collect(),
            subject: caller.subject.as_deref().map(ToOwned::to_owned),
            roles: caller.roles.iter().copied().collect(),
        })
    }
}

/// Body of a sign-in.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Credentials {
    /// The access token, or the one-time code of an address that signs in.
    token: String,
    /// Replace the session of another token. Pages ask first: a link of a stranger may have brought the token.
    #[serde(default)]
    replace: bool,
}

/// Where the sign-out continues.
#[derive(Serialize, ToSchema)]
pub struct SignedOut {
    /// Address at which the issuer ends its own session; null if the session did not come from an issuer.
    continue_at: Option<String>,
}

/// The current session, and how to sign in
#[utoipa::path(
    get,
    path = "/api/session",
    security(()),
    responses((status = 200, description = "The session", body = Session)),
)]
pub async fn get_session(State(sign_in): State<Arc<SignIn>>, caller: Caller) -> impl IntoResponse {
    ([(header::CACHE_CONTROL, "no-store")], Session::of(&sign_in, &caller))
}

/// Signs in with an access token
///
/// For pages: the session is a cookie, and the request must come from one of this system's pages. Programs send their token with each
/// request instead.
#[utoipa::path(
    post,
    path = "/api/session",
    security(()),
    request_body = Credentials,
    responses(
        (status = 200, description = "Signed in", body = Session,
            headers(("Set-Cookie" = String, description = "The session; it ends when the browser closes"))),
        (status = 400, description = "Malformed JSON"),
        (status = 409, description = "The browser has a session of another token, and `replace` is not true"),
        (status = 415, description = "Body is not application/json, or has a content encoding"),
        (status = 422, description = "Unknown field"),
        (status = 503, description = "The issuer has not responded yet, or the event store with the codes is unreachable"),
    ),
)]
pub async fn create_session(
    State(sign_in): State<Arc<SignIn>>,
    method: Method,
    headers: HeaderMap,
    JsonBody(Credentials { token, replace }): JsonBody<Credentials>,
) -> Result<Response, Problem> {
    session::reject_cross_site(&method, &headers)?;
    if sign_in.access.is_open() {
        return Ok(Session::of(&sign_in, &Caller::of_open_access()).into_response());
    }
    let used_up = || unauthenticated("The address to sign in is used up or has expired.");
    let (token, code) = if link::is_code(&token) {
        (link::find(&sign_in.event_store, &token).await?.ok_or_else(used_up)?, Some(token))
    } else {
        (token, None)
    };
    let caller = sign_in.access.session_owner(&token).await?;
    if !replace && has_another_session(&sign_in, &headers, &token).await {
        let detail = "This browser is signed in with another token. Sign out first, or send `\"replace\": true`.";
        return Err(Problem::new(StatusCode::CONFLICT, "session-exists", "There is a session already", detail));
    }
    // Only now, so that the user may still answer the question.
    if let Some(code) = code
        && !link::use_up(&sign_in.event_store, &code).await?
    {
        return Err(used_up());
    }
    let cookie = session::new_cookie(&headers, session::COOKIE, &token, SameSite::Strict);
    Ok((set_cookies([cookie]), Session::of(&sign_in, &caller)).into_response())
}

async fn has_another_session(sign_in: &SignIn, headers: &HeaderMap, token: &str) -> bool {
    let Some(current) = session::token(headers).filter(|current| *current != token) else { return false };
    match sign_in.access.session_owner(current).await {
        Ok(_) => true,
        // One that cannot be verified yet may be valid.
        Err(problem) => problem.status() != StatusCode::UNAUTHORIZED,
    }
}

/// Signs out
#[utoipa::path(
    delete,
    path = "/api/session",
    security(()),
    responses((status = 200, description = "Signed out", body = SignedOut)),
)]
pub async fn end_session(
    State(sign_in): State<Arc<SignIn>>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    session::reject_cross_site(&method, &headers)?;
    let continue_at = session::token(&headers).and_then(|token| sign_in.end_at_issuer(token));
    Ok((set_cookies([ended(&headers, session::COOKIE)]), Json(SignedOut { continue_at })).into_response())
}

#[cfg(test)]
mod tests {
    use contract::role::Role;
    use runtime::{
        access::{Access, Settings, token_file},
        tasks::Tasks,
    };
    use sqlx::postgres::PgPoolOptions;
    use tempfile::NamedTempFile;

    use super::*;
    use crate::session::oidc;

    /// Ways to sign in with these tokens.
    fn sign_in(tokens: &[(&str, &str)]) -> Arc<SignIn> {
        let file = NamedTempFile::new().unwrap();
        for (token, subject) in tokens {
            token_file::append(file.path(), &token_file::line(token, subject, &[Role::Sales], None).unwrap()).unwrap();
        }
        let settings = Settings { access_tokens: Some(file.path().to_owned()), ..Settings::default() };
        let access = Access::new(&settings, ([127, 0, 0, 1], 0).into(), &mut Tasks::default()).unwrap();
        let unreachable = PgPoolOptions::new().connect_lazy("postgres://nobody@127.0.0.1:1/nothing").unwrap();
        Arc::new(SignIn::new(access, unreachable, None, &oidc::Settings::default()).unwrap())
    }

    #[tokio::test]
    async fn the_session_of_another_token_is_replaced_only_on_request() {
        let [alice, bob, unknown] = [(); 3].map(|()| token_file::generate());
        let sign_in = sign_in(&[(&alice, "alice"), (&bob, "bob")]);
        let post = async |current: &str, token: &str, replace: bool| {
            let headers = [("sec-fetch-site", "same-origin".to_owned()), ("cookie", format!("session={current}"))];
            let headers = headers.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
            let body = JsonBody(Credentials { token: token.to_owned(), replace });
            let answer =
                create_session(State(Arc::clone(&sign_in)), Method::POST, HeaderMap::from_iter(headers), body).await;
            answer.map_or_else(|problem| problem.status(), |answer| answer.status())
        };
        assert_eq!(post("", &bob, false).await, StatusCode::OK, "no session");
        assert_eq!(post(&alice, &alice, false).await, StatusCode::OK, "the same token");
        assert_eq!(post(&alice, &bob, false).await, StatusCode::CONFLICT);
        assert_eq!(post(&alice, &bob, true).await, StatusCode::OK);
        assert_eq!(post(&unknown, &bob, false).await, StatusCode::OK, "a session that is over");
        // A token that is not accepted asks nothing.
        assert_eq!(post(&alice, &unknown, false).await, StatusCode::UNAUTHORIZED);
    }
}
