//! Bodies of requests: taken in before anybody answers, bounded in size and time, and as JSON.

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

/// The largest body that any request has a use for is some hundred bytes long.
const LIMIT_BYTES: usize = 16 * 1024;
/// So much of a body that is too large is thrown away, so that its sender comes to read why. Who sends more is cut off.
const DISCARDED_BYTES: usize = 1024 * 1024;
/// Bodies are small: whoever needs longer for one is not sending it.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Takes the whole body in before the request is looked at. An answer that comes while the body is still being sent closes the
/// connection, and a proxy that notices it while it sends makes a 502 out of whatever the answer was.
pub async fn take_in(request: Request, next: Next) -> Response {
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
            "The body did not arrive in time",
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
            Err(Problem::bad_request("unreadable-body", "The body cannot be read", detail))
        }
    }
}

/// Reads what an answer does not depend on, as far as that is worth while.
pub(crate) async fn discard<B: HttpBody<Data = Bytes> + Unpin>(mut body: B) {
    let mut discarded = 0;
    while discarded < DISCARDED_BYTES
        && let Some(Ok(frame)) = body.frame().await
    {
        discarded += frame.data_ref().map_or(0, Bytes::len);
    }
}

/// A JSON body whose faults are answered as problems.
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
        JsonRejection::JsonSyntaxError(_) => ("malformed-json", "The body is not JSON"),
        JsonRejection::JsonDataError(_) => ("invalid-body", "The body does not have the expected shape"),
        JsonRejection::MissingJsonContentType(_) => ("unsupported-media-type", "The body must be JSON"),
        _ => ("unreadable-body", "The body cannot be read"),
    };
    Problem::new(rejection.status(), kind, title, rejection.body_text())
}
