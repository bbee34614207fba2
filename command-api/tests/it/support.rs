//! What tests do with a command API.

use reqwest::{Method, Response};
use serde_json::json;
use testing::Service;
use uuid::Uuid;

/// Buys with an idempotency key. Any response is returned.
pub async fn buy(service: &Service, license: &str, key: Uuid) -> reqwest::Result<Response> {
    let request = service.request(Method::POST, "/api/buy_mpi").header("idempotency-key", key.to_string());
    request.json(&json!({ "license": license })).send().await
}
