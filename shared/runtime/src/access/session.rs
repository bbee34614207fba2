//! The session of a page: its token in a cookie that no script can read.

use axum::http::{HeaderMap, Method, StatusCode, header};
use cookie::{Cookie, SameSite};

use crate::http::problem::Problem;

/// What the cookie is called.
pub const COOKIE: &str = "session";

/// The token of the session, if there is one.
pub fn token(headers: &HeaderMap) -> Option<&str> {
    cookie(headers, COOKIE)
}

/// The value of a cookie.
pub fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    cookies
        .flat_map(|cookies| cookies.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find_map(|(key, value)| (key == name).then_some(value))
}

/// A cookie that goes to nobody but us, is no script's to read, and ends with the browser.
pub fn new_cookie<'a>(headers: &HeaderMap, name: &'a str, value: &'a str, same_site: SameSite) -> Cookie<'a> {
    Cookie::build((name, value)).path("/api").http_only(true).same_site(same_site).secure(is_over_tls(headers)).build()
}

/// Whether the browser came by TLS, as the proxy says, which lets nobody else say it.
fn is_over_tls(headers: &HeaderMap) -> bool {
    headers.get("x-forwarded-proto").is_some_and(|protocol| protocol == "https")
}

/// Refuses what changes something on behalf of somebody else's page.
pub fn refuse_others_pages(method: &Method, headers: &HeaderMap) -> Result<(), Problem> {
    if is_from_our_page(method, headers) {
        return Ok(());
    }
    Err(Problem::new(
        StatusCode::FORBIDDEN,
        "cross-site",
        "The request comes from another site",
        "What changes something with the session of a page has to come from one of our own pages. Programs send a token with \
         each request instead.",
    ))
}

/// Whether a request that changes something comes from one of our own pages. Browsers say where a request comes from;
/// whoever sends a cookie without saying so is no browser of today.
fn is_from_our_page(method: &Method, headers: &HeaderMap) -> bool {
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
    fn only_our_own_pages_change_something() {
        let from = |pairs: &[(&'static str, &str)]| is_from_our_page(&Method::DELETE, &headers(pairs));
        assert!(from(&[("sec-fetch-site", "same-origin")]));
        assert!(from(&[("origin", "http://localhost:8000"), ("host", "localhost:8000")]));
        assert!(!from(&[("sec-fetch-site", "same-site")]));
        assert!(!from(&[("sec-fetch-site", "cross-site"), ("origin", "http://a"), ("host", "a")]));
        assert!(!from(&[("origin", "http://localhost:8001"), ("host", "localhost:8000")]));
        assert!(!from(&[("origin", "null"), ("host", "localhost:8000")]));
        assert!(!from(&[("host", "localhost:8000")]));
        assert!(is_from_our_page(&Method::GET, &headers(&[("sec-fetch-site", "cross-site")])));
    }

    #[test]
    fn the_cookie_is_no_scripts_and_keeps_to_tls() {
        let plain = new_cookie(&headers(&[]), COOKIE, "t", SameSite::Strict).to_string();
        assert_eq!(plain, "session=t; HttpOnly; SameSite=Strict; Path=/api");
        let secure = new_cookie(&headers(&[("x-forwarded-proto", "https")]), COOKIE, "t", SameSite::Strict).to_string();
        assert!(secure.contains("; Secure"), "{secure}");
    }
}
