//! `GET /api/log/key`: the public key that verifies signed checkpoints.

use std::sync::Arc;

use axum::{extract::State, http::header, response::IntoResponse};
use runtime::http::problem::Problem;

use crate::{headers::FOR_FIVE_MINUTES, sources::Sources};

/// The public key of the log
///
/// It verifies signed checkpoints, in the format of C2SP signed-note. Compare it with one that you got in another way: a key proves nothing
/// about the server that it comes from.
#[utoipa::path(
    get,
    path = "/api/log/key",
    security(()),
    responses(
        (status = 200, description = "The key, on one line", body = String, content_type = "text/plain"),
        (status = 503, description = "The service has no public key of the log"),
    ),
)]
pub async fn get_log_key(State(sources): State<Arc<Sources>>) -> Result<impl IntoResponse, Problem> {
    // The bytes of the file `key.pub`, so that both have the same hash.
    let key = sources.log.log_public_key.as_deref();
    let key =
        key.ok_or_else(|| Problem::unavailable("The service has no public key of the log (LOG_PUBLIC_KEY_FILE)."))?;
    Ok(([(header::CACHE_CONTROL, FOR_FIVE_MINUTES)], key.trim().to_owned()))
}
