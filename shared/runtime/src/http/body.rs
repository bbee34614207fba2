//! Request bodies: buffered before the endpoint runs, bounded in size and time, parsed as JSON.

use std::time::Duration;

use axum::{
    Json,
    body::Body,
    extract::{FromRequest, Request, rejection::JsonRejection},
    http::StatusCode,
    middleware::Next,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Body as HttpBody;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use crate::http::problem::Problem;

/// Commands take some hundred bytes.
const LIMIT_BYTES: usize = 16 * 1024;
/// This much of an oversized body is discarded, so that its sender reads the response. Larger ones are cut off.
const DISCARDED_BYTES: usize = 1024 * 1024;
/// Bodies are small: a client that needs longer has stalled.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Buffers the body before the request is handled. An early response would close the connection while the body is still
/// arriving, and the proxy would turn it into a 502.
pub async fn buffer_body(request: Request, next: Next) -> Response {
    if request.body().is_end_stream() {
        return next.run(request).await;
    }
    let (parts, body) = request.into_parts();
    match bounded(body).await {
        Ok(body) => next.run(Request::from_parts(parts, body.into())).await,
        Err(problem) => problem.into_response(),
    }
}

async fn bounded(body: Body) -> Result<Bytes, Problem> {
    timeout(TIMEOUT, collect(body)).await.unwrap_or_else(|_| {
        Err(Problem::new(
            StatusCode::REQUEST_TIMEOUT,
            "body-too-slow",
            "Request body timeout",
            "Nothing was stored. Send the whole body at once.",
        ))
    })
}

async fn collect(mut body: Body) -> Result<Bytes, Problem> {
    match Limited::new(&mut body, LIMIT_BYTES).collect().await {
        Ok(whole) => Ok(whole.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            discard(body).await;
            Err(Problem::body_too_large())
        }
        Err(error) => {
            let detail = format!("Nothing was stored: {error}.");
            Err(Problem::bad_request("unreadable-body", "Unreadable request body", detail))
        }
    }
}

/// Reads and discards the rest of a body, up to a limit.
pub(crate) async fn discard<B: HttpBody<Data = Bytes> + Unpin>(mut body: B) {
    let mut discarded = 0;
    while discarded < DISCARDED_BYTES
        && let Some(Ok(frame)) = body.frame().await
    {
        discarded += frame.data_ref().map_or(0, Bytes::len);
    }
}

/// A JSON body; errors become problems.
pub struct JsonBody<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        match Json::from_request(request, state).await {
            Ok(Json(body)) => Ok(Self(body)),
            Err(rejection) => Err(problem(&rejection)),
        }
    }
}

fn problem(rejection: &JsonRejection) -> Problem {
    let (kind, title) = match rejection {
        JsonRejection::JsonSyntaxError(_) => ("malformed-json", "Malformed JSON"),
        JsonRejection::JsonDataError(_) => ("invalid-body", "Invalid request body"),
        JsonRejection::MissingJsonContentType(_) => ("unsupported-media-type", "Unsupported media type"),
        _ => ("unreadable-body", "Unreadable request body"),
    };
    Problem::new(rejection.status(), kind, title, rejection.body_text())
}
