//! Cookies of sessions and of sign-ins in progress.

use axum::{
    http::{HeaderMap, header},
    response::{AppendHeaders, IntoResponseParts},
};
use cookie::{Cookie, SameSite};
use runtime::access::session;

/// A cookie that makes the browser delete the one with this name.
pub fn ended<'a>(headers: &HeaderMap, name: &'a str) -> Cookie<'a> {
    let mut cookie = session::new_cookie(headers, name, "", SameSite::Strict);
    cookie.make_removal();
    cookie
}

/// The headers of a response that changes a session. It must not be cached.
pub fn set_cookies<const N: usize>(cookies: [Cookie<'_>; N]) -> impl IntoResponseParts + use<N> {
    let no_store = [(header::CACHE_CONTROL, "no-store")];
    (no_store, AppendHeaders(cookies.map(|cookie| (header::SET_COOKIE, cookie.to_string()))))
}
