//! Errors for clients: `application/problem+json` (RFC 9457).

use std::borrow::Cow;

use axum::{
    Json,
    extract::FromRequestParts,
    http::{HeaderValue, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use serde::{Serialize, de::DeserializeOwned};
use utoipa::ToSchema;

/// Queues drain within seconds.
const RETRY_AFTER_S: u32 = 1;

/// An error in the format of RFC 9457.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Problem {
    /// Identifies the kind of problem; stable, for programs.
    #[serde(rename = "type")]
    #[schema(value_type = String, example = "urn:sales:problem:unknown-license")]
    kind: Cow<'static, str>,
    /// The kind in words.
    #[schema(value_type = String)]
    title: Cow<'static, str>,
    /// The HTTP status.
    #[schema(value_type = u16, minimum = 400, maximum = 599)]
    #[serde(serialize_with = "as_number")]
    status: StatusCode,
    /// What is wrong with this request, and how to fix it.
    detail: String,
    #[serde(skip)]
    retry_after_s: Option<u32>,
    #[serde(skip)]
    accept_encoding: Option<&'static str>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
fn as_number<S: serde::Serializer>(status: &StatusCode, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u16(status.as_u16())
}

impl Problem {
    /// `kind` is the stable last part of the problem's type.
    pub fn new(status: StatusCode, kind: &str, title: &'static str, detail: impl Into<String>) -> Self {
        let kind = Cow::Owned(format!("urn:sales:problem:{kind}"));
        Self { kind, title: title.into(), status, detail: detail.into(), retry_after_s: None, accept_encoding: None }
    }

    /// 503: a limit was reached, or a dependency is unavailable. A retry may succeed.
    pub fn unavailable(detail: impl Into<String>) -> Self {
        let problem = Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Service unavailable", detail);
        Self { retry_after_s: Some(RETRY_AFTER_S), ..problem }
    }

    /// 413.
    pub fn body_too_large() -> Self {
        let detail = "Nothing was stored. A command takes some hundred bytes.";
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "body-too-large", "Request body too large", detail)
    }

    /// 415. The response names the only coding that is accepted (RFC 7694, section 3).
    pub fn unsupported_content_encoding() -> Self {
        let (kind, title) = ("unsupported-content-encoding", "Unsupported content encoding");
        let detail = "Send the body without a Content-Encoding.";
        let problem = Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, kind, title, detail);
        Self { accept_encoding: Some("identity"), ..problem }
    }

    /// 500. The cause goes to the log, never to the client.
    pub fn internal() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "Internal server error",
            "The error has been logged. Acknowledged commands are not affected.",
        )
    }

    pub const fn status(&self) -> StatusCode {
        self.status
    }

    pub fn bad_request(kind: &str, title: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, kind, title, detail)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(&self)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(coding) = self.accept_encoding {
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(coding));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"sales\""));
        }
        if let Some(seconds) = self.retry_after_s {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

/// Query parameters; errors become problems.
pub struct Query<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match axum::extract::Query::from_request_parts(parts, state).await {
            Ok(axum::extract::Query(query)) => Ok(Self(query)),
            Err(rejection) => {
                Err(Problem::bad_request("invalid-query", "Invalid query parameters", rejection.body_text()))
            }
        }
    }
}
