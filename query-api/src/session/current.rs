//! `/api/session`: the session of a page. Scripts cannot read its token.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, Method, header},
    response::{IntoResponse, Response},
};
use contract::role::Role;
use cookie::SameSite;
use runtime::{
    access::{caller::Caller, session},
    http::{body::JsonBody, problem::Problem},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    cookies::{ended, set_cookies},
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
    /// The access token.
    token: String,
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
        (status = 415, description = "Body is not application/json, or has a content encoding"),
        (status = 422, description = "Unknown field"),
        (status = 503, description = "The issuer has not responded yet"),
    ),
)]
pub async fn create_session(
    State(sign_in): State<Arc<SignIn>>,
    method: Method,
    headers: HeaderMap,
    JsonBody(Credentials { token }): JsonBody<Credentials>,
) -> Result<Response, Problem> {
    session::reject_cross_site(&method, &headers)?;
    if sign_in.access.is_open() {
        return Ok(Session::of(&sign_in, &Caller::of_open_access()).into_response());
    }
    let caller = sign_in.access.session_owner(&token).await?;
    let cookie = session::new_cookie(&headers, session::COOKIE, &token, SameSite::Strict);
    Ok((set_cookies([cookie]), Session::of(&sign_in, &caller)).into_response())
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
