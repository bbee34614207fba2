//! Errors as clients see them: `application/problem+json` after RFC 9457.

use std::borrow::Cow;

use axum::{
    Json,
    extract::{FromRequest, FromRequestParts, Request, rejection::JsonRejection},
    http::{HeaderValue, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use serde::{Serialize, de::DeserializeOwned};
use utoipa::ToSchema;

/// What went wrong, in the form of RFC 9457.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Problem {
    /// Identifies the kind of problem; stable, for programs.
    #[serde(rename = "type")]
    #[schema(value_type = String, example = "urn:sales:problem:unknown-license")]
    kind: Cow<'static, str>,
    /// The same in words.
    #[schema(value_type = String)]
    title: Cow<'static, str>,
    /// The HTTP status, once more.
    #[schema(value_type = u16, minimum = 400, maximum = 599)]
    #[serde(serialize_with = "as_number")]
    status: StatusCode,
    /// What is wrong with this request, and what to do about it.
    detail: String,
    #[serde(skip)]
    retry_after_s: Option<u32>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
fn as_number<S: serde::Serializer>(status: &StatusCode, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u16(status.as_u16())
}

impl Problem {
    /// `kind` is the stable last part of the problem's type.
    pub fn new(status: StatusCode, kind: &str, title: &'static str, detail: impl Into<String>) -> Self {
        let kind = Cow::Owned(format!("urn:sales:problem:{kind}"));
        Self { kind, title: title.into(), status, detail: detail.into(), retry_after_s: None }
    }

    /// 503: a bound was reached, or something that is needed is away. Trying again later may work.
    pub fn unavailable(detail: impl Into<String>) -> Self {
        /// The bounds of this system are measured in seconds, so whoever comes back a second later may find room.
        const RETRY_AFTER_S: u32 = 1;
        let problem = Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "The service is busy", detail);
        Self { retry_after_s: Some(RETRY_AFTER_S), ..problem }
    }

    /// 500: our own mistake. The cause goes to the log, never to the client.
    pub fn internal() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "Something went wrong on our side",
            "The error has been logged; nothing that was acknowledged is affected.",
        )
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
        if let Some(seconds) = self.retry_after_s {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

/// A JSON body whose faults are answered as problems.
pub struct Body<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        match Json::from_request(request, state).await {
            Ok(Json(body)) => Ok(Self(body)),
            Err(rejection) => Err(body_problem(&rejection)),
        }
    }
}

fn body_problem(rejection: &JsonRejection) -> Problem {
    let (kind, title) = match rejection {
        JsonRejection::JsonSyntaxError(_) => ("malformed-json", "The body is not JSON"),
        JsonRejection::JsonDataError(_) => ("invalid-body", "The body does not have the expected shape"),
        JsonRejection::MissingJsonContentType(_) => ("unsupported-media-type", "The body must be JSON"),
        _ if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => ("body-too-large", "The body is too large"),
        _ => ("unreadable-body", "The body cannot be read"),
    };
    Problem::new(rejection.status(), kind, title, rejection.body_text())
}

/// Query parameters whose faults are answered as problems.
pub struct Query<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match axum::extract::Query::from_request_parts(parts, state).await {
            Ok(axum::extract::Query(query)) => Ok(Self(query)),
            Err(rejection) => Err(Problem::bad_request(
                "invalid-query",
                "The query parameters do not have the expected shape",
                rejection.body_text(),
            )),
        }
    }
}
