//! The session of a page: its token in a cookie that scripts cannot read.

use axum::http::{HeaderMap, Method, StatusCode, header};
use cookie::{Cookie, SameSite};

use crate::http::problem::Problem;

/// Name of the cookie.
pub const COOKIE: &str = "session";
/// Browsers accept a cookie with this prefix only from the host itself and over TLS, so that no neighbour can plant one
/// (RFC 6265bis, section 4.1.3.2).
const HOST_PREFIX: &str = "__Host-";

/// The token of the session.
pub fn token(headers: &HeaderMap) -> Option<&str> {
    cookie(headers, COOKIE)
}

/// The value of a cookie of [`new_cookie`].
pub fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    cookies(headers).find(|(known, _)| *known == name).map(|(_, value)| value)
}

/// Names and values of the cookies of [`new_cookie`], and of those that look like one.
pub fn cookies(headers: &HeaderMap) -> impl Iterator<Item = (&str, &str)> {
    let prefix = prefix(headers);
    let values = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    values
        .flat_map(Cookie::split_parse)
        .flatten()
        .filter_map(move |cookie| Some((cookie.name_raw()?.strip_prefix(prefix)?, cookie.value_raw()?)))
}

/// A cookie that is unreadable by scripts and ends with the browser session. Without TLS it is for the APIs alone; the prefix
/// that TLS allows requires the path `/`.
pub fn new_cookie(headers: &HeaderMap, name: &str, value: &str, same_site: SameSite) -> Cookie<'static> {
    let is_over_tls = is_over_tls(headers);
    Cookie::build((format!("{}{name}", prefix(headers)), value.to_owned()))
        .path(if is_over_tls { "/" } else { "/api" })
        .http_only(true)
        .same_site(same_site)
        .secure(is_over_tls)
        .build()
}

fn prefix(headers: &HeaderMap) -> &'static str {
    if is_over_tls(headers) { HOST_PREFIX } else { "" }
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

/// Whether a browser reports that another site's page caused the request.
pub fn is_reported_cross_site(headers: &HeaderMap) -> bool {
    headers.get("sec-fetch-site").is_some_and(|site| site != "same-origin" && site != "none")
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
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let Some((scheme, host)) = text(header::ORIGIN).and_then(|origin| origin.split_once("://")) else { return false };
    scheme == if is_over_tls(headers) { "https" } else { "http" } && Some(host) == text(header::HOST)
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
    fn over_tls_only_a_cookie_that_the_host_itself_set_is_a_session() {
        let over_tls = |cookies| headers(&[("x-forwarded-proto", "https"), ("cookie", cookies)]);
        assert_eq!(token(&over_tls("session=planted; __Host-session=x.y")), Some("x.y"));
        assert_eq!(token(&over_tls("session=planted")), None);
        assert_eq!(token(&headers(&[("cookie", "__Host-session=x.y")])), None);
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
        assert!(!from(&[("origin", "https://localhost:8000"), ("host", "localhost:8000")]));
        let over_tls = |origin| from(&[("x-forwarded-proto", "https"), ("origin", origin), ("host", "shop.example")]);
        assert!(over_tls("https://shop.example"));
        assert!(!over_tls("http://shop.example"));
        assert!(!from(&[("host", "localhost:8000")]));
        assert!(is_same_origin(&Method::GET, &headers(&[("sec-fetch-site", "cross-site")])));
    }

    #[test]
    fn the_cookie_is_hidden_from_scripts_and_secure_over_tls() {
        let plain = new_cookie(&headers(&[]), COOKIE, "t", SameSite::Strict).to_string();
        assert_eq!(plain, "session=t; HttpOnly; SameSite=Strict; Path=/api");
        let secure = new_cookie(&headers(&[("x-forwarded-proto", "https")]), COOKIE, "t", SameSite::Strict).to_string();
        assert_eq!(secure, "__Host-session=t; HttpOnly; SameSite=Strict; Secure; Path=/");
    }

    #[test]
    fn a_browser_reports_requests_that_other_sites_cause() {
        let of = |site: &[(&'static str, &str)]| is_reported_cross_site(&headers(site));
        assert!(of(&[("sec-fetch-site", "cross-site")]) && of(&[("sec-fetch-site", "same-site")]));
        assert!(!of(&[("sec-fetch-site", "same-origin")]) && !of(&[("sec-fetch-site", "none")]) && !of(&[]));
    }
}
