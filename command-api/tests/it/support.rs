//! A command-api and what tests do with it.

use reqwest::{Client, Response};
use serde_json::{Value, json};
use testing::{Databases, Service, Until};
use uuid::Uuid;

/// Nothing listens at this address: these tests need no NATS.
pub const NO_NATS: &str = "nats://127.0.0.1:1";

pub async fn command_api(databases: &Databases, nats_url: &str) -> Service {
    command_api_at(&databases.event_store_url("command_api"), nats_url).await
}

pub async fn command_api_at(event_store_url: &str, nats_url: &str) -> Service {
    Service::start("command-api", Until::Ready, &[("EVENT_STORE_URL", event_store_url), ("NATS_URL", nats_url)]).await
}

pub async fn buy(client: &Client, service_url: &str, license: &str, key: Uuid) -> reqwest::Result<Response> {
    client
        .post(format!("{service_url}/api/buy_mpi"))
        .header("idempotency-key", key.to_string())
        .json(&json!({ "license": license }))
        .send()
        .await
}

/// Buys with a new key; panics on failure.
pub async fn bought(client: &Client, service: &Service, license: &str) -> Value {
    let response = buy(client, &service.url(), license, Uuid::new_v4()).await.unwrap();
    assert_eq!(response.status(), 201);
    response.json().await.unwrap()
}
