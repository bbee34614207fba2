//! Answers that the client has already.

use axum::http::{HeaderMap, HeaderValue, header};

/// `If-None-Match` after RFC 9110: a list of entity tags, of which the weak ones count too, or a star.
pub fn matches(headers: &HeaderMap, etag: &HeaderValue) -> bool {
    let tags =
        headers.get_all(header::IF_NONE_MATCH).iter().flat_map(|value| value.as_bytes().split(|&byte| byte == b','));
    tags.map(<[u8]>::trim_ascii).any(|tag| tag == b"*" || tag.strip_prefix(b"W/").unwrap_or(tag) == etag.as_bytes())
}
