//! The read side against real Postgres and a real projector.

mod as_of;
mod cosigned;
mod events;
mod export;
mod history;
mod latest;
mod link;
mod purchases;
mod service;
mod statements;
mod stream;
mod tiled_log;
mod totals;

use reqwest::{Method, RequestBuilder, Response};
use serde_json::Value;
use testing::{Databases, NO_NATS, Service, Until};

struct ReadSide {
    databases: Databases,
    query_api: Service,
    _projector: Service,
}

impl ReadSide {
    async fn start() -> Self {
        Self::start_with(Databases::create().await, &[]).await
    }

    /// With a query API that has further settings. The projector follows the event store; the query API never needs NATS.
    async fn start_with(databases: Databases, settings: &[(&str, &str)]) -> Self {
        let projector = databases.projector(NO_NATS).await;
        let query_api = databases.start("query-api", Until::Ready, settings).await;
        Self { databases, query_api, _projector: projector }
    }

    fn request(&self, path: &str) -> RequestBuilder {
        self.query_api.request(Method::GET, path)
    }

    async fn get(&self, path: &str) -> Response {
        self.query_api.get(path).await
    }

    /// The response to a client that has the one with this tag.
    async fn get_again(&self, path: &str, tag: &str) -> Response {
        self.request(path).header("if-none-match", tag).send().await.unwrap()
    }

    /// Waits until the totals reflect the whole log. Returns its end.
    async fn settled(&self) -> i64 {
        let position = self.databases.head().await;
        self.json(&format!("/api/get_current_money?min_position={position}")).await;
        position
    }

    async fn json(&self, path: &str) -> Value {
        self.query_api.json(path).await
    }
}

fn tag(response: &Response) -> String {
    response.headers()["etag"].to_str().unwrap().to_owned()
}
