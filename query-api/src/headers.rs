//! Headers that several endpoints use.

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};

/// The log position that a response reflects, for bodies without a field for it.
pub const POSITION: HeaderName = HeaderName::from_static("sales-position");

/// For responses that change with the log. Not for shared caches, because the response depends on the caller's role.
pub const REVALIDATE: HeaderValue = HeaderValue::from_static("private, no-cache");

/// Public keys rarely change.
pub const FOR_FIVE_MINUTES: HeaderValue = HeaderValue::from_static("public, max-age=300");

/// For responses that never change, and that only some callers may read.
pub const FOREVER: HeaderValue = HeaderValue::from_static("private, max-age=31536000, immutable");

/// Whether `If-None-Match` names the tag. After RFC 9110 it is a list of entity tags, compared weakly, or a star.
pub fn if_none_match(headers: &HeaderMap, etag: &HeaderValue) -> bool {
    let tags =
        headers.get_all(header::IF_NONE_MATCH).iter().flat_map(|value| value.as_bytes().split(|&byte| byte == b','));
    tags.map(<[u8]>::trim_ascii).any(|tag| tag == b"*" || opaque(tag) == opaque(etag.as_bytes()))
}

/// A tag without its mark of weakness.
fn opaque(tag: &[u8]) -> &[u8] {
    tag.strip_prefix(b"W/").unwrap_or(tag)
}
