//! The read side against real Postgres and a real projector.

mod as_of;
mod events;
mod export;
mod history;
mod latest;
mod purchases;
mod service;
mod stream;
mod totals;

use reqwest::{Client, Response};
use serde_json::Value;
use testing::{Databases, Service, Until};

/// Nothing listens there: the projector then follows the event store, and query-api never needs NATS.
const NO_NATS: &str = "nats://127.0.0.1:1";

struct ReadSide {
    databases: Databases,
    query_api: Service,
    _projector: Service,
    client: Client,
}

impl ReadSide {
    async fn start() -> Self {
        let databases = Databases::create().await;
        let read_model_url = databases.read_model_url("query_api");
        Self::start_with(databases, &read_model_url).await
    }

    async fn start_with(databases: Databases, read_model_url: &str) -> Self {
        let projector = projector(&databases).await;
        let query_api = query_api(&databases, read_model_url).await;
        Self { databases, query_api, _projector: projector, client: Client::new() }
    }

    async fn get(&self, path: &str) -> Response {
        self.client.get(format!("{}{path}", self.query_api.url())).send().await.unwrap()
    }

    /// Waits until the totals reflect the whole log. Returns its end.
    async fn settled(&self) -> i64 {
        let position = self.databases.head().await;
        self.json(&format!("/api/get_current_money?min_position={position}")).await;
        position
    }

    /// Rebuilds the read model from scratch.
    async fn rebuild(&self) {
        let (event_store, read_model) =
            (self.databases.event_store_url("projector"), self.databases.read_model_url("projector"));
        Service::run("projector", "rebuild", &[("EVENT_STORE_URL", &event_store), ("READ_MODEL_URL", &read_model)])
            .await;
    }

    async fn json(&self, path: &str) -> Value {
        let response = self.get(path).await;
        assert_eq!(response.status(), 200, "{path}");
        response.json().await.unwrap()
    }
}

async fn projector(databases: &Databases) -> Service {
    let (event_store, read_model) = (databases.event_store_url("projector"), databases.read_model_url("projector"));
    let environment =
        [("EVENT_STORE_URL", event_store.as_str()), ("READ_MODEL_URL", &read_model), ("NATS_URL", NO_NATS)];
    Service::start("projector", Until::Ready, &environment).await
}

async fn query_api(databases: &Databases, read_model_url: &str) -> Service {
    let event_store = databases.event_store_url("query_api");
    let environment = [("EVENT_STORE_URL", event_store.as_str()), ("READ_MODEL_URL", read_model_url)];
    Service::start("query-api", Until::Ready, &environment).await
}

async fn assert_problem(response: Response, status: u16, kind: &str) {
    let url = response.url().clone();
    assert_eq!(response.status(), status, "{url}");
    assert_eq!(response.headers()["content-type"], "application/problem+json", "{url}");
    let problem: Value = response.json().await.unwrap();
    assert_eq!(problem["type"], format!("urn:sales:problem:{kind}"), "{url}");
}
