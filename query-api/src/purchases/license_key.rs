//! `GET /api/purchases/{purchase_id}/license_key`: the licence key of a purchase; and `GET /api/jwks.json`: the public keys to verify it
//! with.

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
use crate::{
    headers::{FOR_FIVE_MINUTES, POSITION},
    sources::Sources,
};

/// The licence key of a purchase.
#[derive(Serialize, ToSchema)]
pub struct LicenseKey {
    /// A JWT signed with `EdDSA`: `iss` is `urn:sales`, `sub` the purchase id, `license` the licence, `iat` the time of the purchase.
    license_key: String,
}

/// Public keys (RFC 7517).
#[derive(Serialize, ToSchema)]
pub struct PublicKeys {
    keys: Vec<PublicKey>,
}

/// The licence key of a purchase
///
/// Always the same bytes. It can be verified offline with a key from `/api/jwks.json`.
#[utoipa::path(
    get,
    path = "/api/purchases/{purchase_id}/license_key",
    security(()),
    params(("purchase_id" = uuid::Uuid, Path, description = "Purchase id, from the receipt")),
    responses(
        (status = 200, description = "The licence key", body = LicenseKey, headers(
            ("Sales-Position" = i64, description = "Log position of the purchase"))),
        (status = 404, description = "Unknown purchase"),
        (status = 500, description = "The log is damaged; operators are alerted"),
        (status = 503, description = "The event store is unreachable, or the service has no signing key"),
    ),
)]
pub async fn get_license_key(
    State(sources): State<Arc<Sources>>,
    path: Result<Path<String>, PathRejection>,
) -> Result<impl IntoResponse, Problem> {
    let receipt = receipt::find(&sources, path).await?;
    let signer = sources.license_signer.as_ref().ok_or_else(|| {
        Problem::unavailable(
            "The service has no key to sign licence keys with (LICENSE_KEY_FILE). The purchase is valid.",
        )
    })?;
    let position = [(POSITION, HeaderValue::from(receipt.position.get()))];
    Ok((position, Json(LicenseKey { license_key: signer.sign(&receipt) })))
}

/// Public keys to verify licence keys with
///
/// The current key, then former ones: a licence key keeps the signature of its time. Empty if the service has no signing key.
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
