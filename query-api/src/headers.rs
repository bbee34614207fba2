//! Headers that several endpoints have in common.

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};

/// The log position that an answer reflects, where its body has no place for it.
pub const POSITION: HeaderName = HeaderName::from_static("sales-position");

/// Whether the client already has the answer with this tag. `If-None-Match` after RFC 9110: a list of entity tags, of which the weak
/// ones count too, or a star.
pub fn if_none_match(headers: &HeaderMap, etag: &HeaderValue) -> bool {
    let tags =
        headers.get_all(header::IF_NONE_MATCH).iter().flat_map(|value| value.as_bytes().split(|&byte| byte == b','));
    tags.map(<[u8]>::trim_ascii).any(|tag| tag == b"*" || tag.strip_prefix(b"W/").unwrap_or(tag) == etag.as_bytes())
}
