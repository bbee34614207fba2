//! Cookies of sessions and of sign-ins in progress.

use axum::{
    http::{HeaderMap, header},
    response::{AppendHeaders, IntoResponseParts},
};
use cookie::{Cookie, SameSite};
use runtime::access::session;

/// A cookie that makes the browser delete the one with this name.
pub fn ended(headers: &HeaderMap, name: &str) -> Cookie<'static> {
    let mut cookie = session::new_cookie(headers, name, "", SameSite::Strict);
    cookie.make_removal();
    cookie
}

/// The headers of a response that changes a session. It must not be cached.
pub fn set_cookies(cookies: impl IntoIterator<Item = Cookie<'static>>) -> impl IntoResponseParts {
    let no_store = [(header::CACHE_CONTROL, "no-store")];
    let cookies: Vec<_> = cookies.into_iter().map(|cookie| (header::SET_COOKIE, cookie.to_string())).collect();
    (no_store, AppendHeaders(cookies))
}
