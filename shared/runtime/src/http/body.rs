//! Request bodies: buffered before the endpoint runs, bounded in size and time, parsed as JSON.

use std::{fmt, marker::PhantomData, time::Duration};

use axum::{
    Json,
    body::Body,
    extract::{FromRequest, Request, rejection::JsonRejection},
    http::{HeaderMap, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Body as HttpBody;
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, MapAccess, Visitor, value::MapAccessDeserializer},
};
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

/// A JSON object as the body; errors become problems.
pub struct JsonBody<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        check_media(request.headers())?;
        match Json::from_request(request, state).await {
            Ok(Json(Object(body))) => Ok(Self(body)),
            Err(rejection) => Err(problem(&rejection)),
        }
    }
}

/// Refuses bodies that are not in the form that the parser expects: otherwise it would report compressed JSON as malformed.
fn check_media(headers: &HeaderMap) -> Result<(), Problem> {
    let mut codings = headers.get_all(header::CONTENT_ENCODING).iter();
    if codings.any(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return Err(Problem::unsupported_content_encoding());
    }
    if headers.get_all(header::CONTENT_TYPE).iter().count() > 1 {
        let detail = "Send one Content-Type: application/json.";
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, MEDIA_TYPE.0, MEDIA_TYPE.1, detail));
    }
    Ok(())
}

/// A struct from a JSON object. Derived implementations also accept an array of the fields' values.
struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Members<T> {
            type Value = T;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<T, A::Error> {
                T::deserialize(MapAccessDeserializer::new(members))
            }
        }

        deserializer.deserialize_map(Members(PhantomData)).map(Self)
    }
}

/// Kind and title.
const MEDIA_TYPE: (&str, &str) = ("unsupported-media-type", "Unsupported media type");

fn problem(rejection: &JsonRejection) -> Problem {
    let (kind, title) = match rejection {
        JsonRejection::JsonSyntaxError(_) => ("malformed-json", "Malformed JSON"),
        JsonRejection::JsonDataError(_) => ("invalid-body", "Invalid request body"),
        JsonRejection::MissingJsonContentType(_) => MEDIA_TYPE,
        _ => ("unreadable-body", "Unreadable request body"),
    };
    Problem::new(rejection.status(), kind, title, rejection.body_text())
}
