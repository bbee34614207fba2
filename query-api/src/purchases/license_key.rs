//! `GET /api/purchases/{purchase_id}/license_key`: what the buyer shows where the licence is used; and
//! `GET /api/jwks.json`: what it is verified with.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State, rejection::PathRejection},
    http::{HeaderValue, header},
    response::IntoResponse,
};
use runtime::http::problem::Problem;
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    receipt,
    signer::{LicenseSigner, PublicKey},
};
use crate::{headers::POSITION, sources::Sources};

/// A key that is published is asked for once in a while.
const FOR_FIVE_MINUTES: &str = "public, max-age=300";

/// The key to what was bought.
#[derive(Serialize, ToSchema)]
pub struct LicenseKey {
    /// A JWT, signed with `EdDSA`: `iss` is `urn:sales`, `sub` the purchase id, `license` the licence, `iat` when it was bought.
    license_key: String,
}

/// Public keys (RFC 7517).
#[derive(Serialize, ToSchema)]
pub struct PublicKeys {
    keys: Vec<PublicKey>,
}

/// The licence key of a purchase
///
/// The same bytes whenever it is asked for. Verifiable offline, with a key of `/api/jwks.json`.
#[utoipa::path(
    get,
    path = "/api/purchases/{purchase_id}/license_key",
    security(()),
    params(("purchase_id" = uuid::Uuid, Path, description = "As on the receipt")),
    responses(
        (status = 200, description = "The licence key", body = LicenseKey, headers(
            ("Sales-Position" = i64, description = "Log position of the purchase, all that the key depends on"))),
        (status = 404, description = "No such purchase", body = Problem, content_type = "application/problem+json"),
        (status = 500, description = "The log is damaged: an alarm for operators", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The event store does not answer, or the service has no key to sign with", body = Problem,
            content_type = "application/problem+json", headers(("Retry-After" = u32, description = "Seconds"))),
    ),
)]
pub async fn get_license_key(
    State(sources): State<Arc<Sources>>,
    path: Result<Path<String>, PathRejection>,
) -> Result<impl IntoResponse, Problem> {
    let receipt = receipt::find(&sources, path).await?;
    let signer = sources.license_signer.as_ref().ok_or_else(|| {
        Problem::unavailable(
            "This service has no key to sign licence keys with (LICENSE_KEY_FILE). The purchase is valid.",
        )
    })?;
    let position = [(POSITION, HeaderValue::from(receipt.position.get()))];
    Ok((position, Json(LicenseKey { license_key: signer.sign(&receipt) })))
}

/// The public keys that licence keys are verified with
///
/// The one that signs now, and those that did before: a purchase keeps the key of its time. None, while the service has no key to
/// sign with.
#[utoipa::path(
    get,
    path = "/api/jwks.json",
    security(()),
    responses((status = 200, description = "The keys, as JWKs", body = PublicKeys)),
)]
pub async fn get_public_keys(State(sources): State<Arc<Sources>>) -> impl IntoResponse {
    let keys = sources.license_signer.iter().flat_map(LicenseSigner::public_keys).cloned().collect();
    ([(header::CACHE_CONTROL, FOR_FIVE_MINUTES)], Json(PublicKeys { keys }))
}
