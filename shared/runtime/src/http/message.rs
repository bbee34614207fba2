//! Rules of HTTP for every request and every response, whatever the endpoint.

use std::convert::Infallible;

use axum::{
    extract::Request,
    http::{HeaderMap, HeaderValue, Version, header, uri::Authority},
    response::{IntoResponse, Response},
};
use hyper::{body::Incoming, service::Service};

use crate::http::problem::Problem;

/// Refuses requests without exactly one `Host`, and forbids caches to store a response that does not declare how long it
/// stays valid: a receipt or an event must not remain where another user of a cache finds it.
pub async fn conform<S>(request: Request<Incoming>, service: S) -> Result<Response, Infallible>
where
    S: Service<Request<Incoming>, Response = Response, Error = Infallible>,
{
    if !has_one_host(request.version(), request.headers()) {
        let detail = "Send exactly one Host header: a name or an address, with or without a port.";
        return Ok(Problem::bad_request("invalid-host", "Invalid Host header", detail).into_response());
    }
    let mut response = service.call(request).await?;
    response.headers_mut().entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    Ok(response)
}

/// As RFC 9112, section 3.2 requires it. HTTP/1.0 does not have the header.
fn has_one_host(version: Version, headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) => !host.as_bytes().contains(&b'@') && Authority::try_from(host.as_bytes()).is_ok(),
        (None, _) => version < Version::HTTP_11,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_accepted(version: Version, hosts: &[&str]) -> bool {
        let mut headers = HeaderMap::new();
        for host in hosts {
            headers.append(header::HOST, HeaderValue::from_bytes(host.as_bytes()).unwrap());
        }
        has_one_host(version, &headers)
    }

    #[test]
    fn a_request_has_exactly_one_valid_host() {
        for host in ["localhost", "shop.example.org:8443", "127.0.0.1:80", "[::1]:8000", "sales_query-api:8080"] {
            assert!(is_accepted(Version::HTTP_11, &[host]), "{host}");
        }
        for hosts in [&[][..], &["a", "b"], &["a", "a"], &[""], &["a, b"], &["a b"], &["a/b"], &["user@a"]] {
            assert!(!is_accepted(Version::HTTP_11, hosts), "{hosts:?}");
        }
        assert!(is_accepted(Version::HTTP_10, &[]));
        assert!(!is_accepted(Version::HTTP_10, &["a", "b"]));
    }
}
