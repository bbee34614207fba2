//! A projector, and what its work is measured by.

use stack::testing::{Databases, Nats, Service, Until, eventually};

/// Nothing listens there: for tests in which NATS plays no part.
pub const NO_NATS: &str = "nats://127.0.0.1:1";

pub async fn projector(databases: &Databases, nats_url: &str) -> Service {
    projector_until(databases, nats_url, Until::Ready).await
}

pub async fn projector_until(databases: &Databases, nats_url: &str, until: Until) -> Service {
    let (event_store, read_model) = urls(databases);
    let environment = [("EVENT_STORE_URL", &*event_store), ("READ_MODEL_URL", &read_model), ("NATS_URL", nats_url)];
    Service::start("projector", until, &environment).await
}

pub async fn rebuild(databases: &Databases) {
    let (event_store, read_model) = urls(databases);
    Service::run("projector", "rebuild", &[("EVENT_STORE_URL", &event_store), ("READ_MODEL_URL", &read_model)]).await;
}

fn urls(databases: &Databases) -> (String, String) {
    (databases.event_store_url("projector"), databases.read_model_url("projector"))
}

pub async fn command_api(databases: &Databases, nats: &Nats) -> Service {
    let (event_store, nats) = (databases.event_store_url("command_api"), nats.url("command-api"));
    Service::start("command-api", Until::Ready, &[("EVENT_STORE_URL", &event_store), ("NATS_URL", &nats)]).await
}

/// Waits until the read model has come to the end of the log, and compares what both add up to.
pub async fn assert_projected(databases: &Databases) {
    let head = databases.head().await;
    eventually("the whole log is projected", async || databases.checkpoint().await == head).await;
    assert_eq!(databases.count_read_model().await, databases.count_log().await);
}

pub async fn readiness(service: &Service) -> (u16, String) {
    let response = service.get("/readyz").await;
    (response.status().as_u16(), response.text().await.unwrap())
}
