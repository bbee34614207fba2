//! The session of a page: its token in a cookie that scripts cannot read.

use axum::http::{HeaderMap, Method, StatusCode, header};
use cookie::{Cookie, SameSite};

use crate::http::problem::Problem;

/// Name of the cookie.
pub const COOKIE: &str = "session";

/// The token of the session.
pub fn token(headers: &HeaderMap) -> Option<&str> {
    cookie(headers, COOKIE)
}

/// The value of a cookie.
pub fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    cookies.flat_map(Cookie::split_parse).flatten().find(|cookie| cookie.name() == name)?.value_raw()
}

/// A cookie for the APIs alone, unreadable by scripts, that ends with the browser session.
pub fn new_cookie<'a>(headers: &HeaderMap, name: &'a str, value: &'a str, same_site: SameSite) -> Cookie<'a> {
    Cookie::build((name, value)).path("/api").http_only(true).same_site(same_site).secure(is_over_tls(headers)).build()
}

/// Whether the browser uses TLS. The proxy sets the header and removes any that a client sent.
fn is_over_tls(headers: &HeaderMap) -> bool {
    headers.get("x-forwarded-proto").is_some_and(|protocol| protocol == "https")
}

/// Rejects unsafe requests that come from another site.
pub fn reject_cross_site(method: &Method, headers: &HeaderMap) -> Result<(), Problem> {
    if is_same_origin(method, headers) {
        return Ok(());
    }
    Err(Problem::new(
        StatusCode::FORBIDDEN,
        "cross-site",
        "Cross-site request",
        "With the session of a page, only that site's pages may change data. Programs send a token with each request instead.",
    ))
}

/// Whether an unsafe request comes from one of our own pages. Every current browser sends at least one of these headers with
/// a cookie.
fn is_same_origin(method: &Method, headers: &HeaderMap) -> bool {
    if method.is_safe() {
        return true;
    }
    if let Some(site) = headers.get("sec-fetch-site") {
        return site == "same-origin";
    }
    let host = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let origin = host(header::ORIGIN).and_then(|origin| origin.split_once("://")).map(|(_, host)| host);
    origin.is_some() && origin == host(header::HOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn the_token_is_found_among_other_cookies() {
        assert_eq!(token(&headers(&[("cookie", "a=b; session=x.y; c=d")])), Some("x.y"));
        assert_eq!(token(&headers(&[("cookie", "a=b"), ("cookie", "session=1")])), Some("1"));
        assert_eq!(token(&headers(&[("cookie", "asession=b; session")])), None);
    }

    #[test]
    fn only_our_own_pages_change_data() {
        let from = |pairs: &[(&'static str, &str)]| is_same_origin(&Method::DELETE, &headers(pairs));
        assert!(from(&[("sec-fetch-site", "same-origin")]));
        assert!(from(&[("origin", "http://localhost:8000"), ("host", "localhost:8000")]));
        assert!(!from(&[("sec-fetch-site", "same-site")]));
        assert!(!from(&[("sec-fetch-site", "cross-site"), ("origin", "http://a"), ("host", "a")]));
        assert!(!from(&[("origin", "http://localhost:8001"), ("host", "localhost:8000")]));
        assert!(!from(&[("origin", "null"), ("host", "localhost:8000")]));
        assert!(!from(&[("host", "localhost:8000")]));
        assert!(is_same_origin(&Method::GET, &headers(&[("sec-fetch-site", "cross-site")])));
    }

    #[test]
    fn the_cookie_is_hidden_from_scripts_and_secure_over_tls() {
        let plain = new_cookie(&headers(&[]), COOKIE, "t", SameSite::Strict).to_string();
        assert_eq!(plain, "session=t; HttpOnly; SameSite=Strict; Path=/api");
        let secure = new_cookie(&headers(&[("x-forwarded-proto", "https")]), COOKIE, "t", SameSite::Strict).to_string();
        assert!(secure.contains("; Secure"), "{secure}");
    }
}
