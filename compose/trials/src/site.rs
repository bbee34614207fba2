//! The shop as its users reach it: through Traefik, by host name.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use reqwest::header::HeaderMap;
use reqwest::redirect::Policy;
use reqwest::{Client, Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use stack::interrupt::Interrupt;
use stack::ports::loopback;

const NAMES: [&str; 4] = ["localhost", "sales.localhost", "pgadmin.localhost", "traefik.localhost"];
/// Longer than the request limits of the services.
const REQUEST_LIMIT: Duration = Duration::from_secs(20);
/// Until everything is healthy, on a busy machine.
const READY_WITHIN: Duration = Duration::from_mins(2);
const POLL_INTERVAL: Duration = Duration::from_millis(100);

pub struct Site {
    pub runtime: Runtime,
    pub http: Client,
    scheme: &'static str,
    pub port: u16,
    /// Token with all roles, where tokens are required.
    pub token: Option<String>,
    pub auditor: Option<String>,
    interrupt: Interrupt,
}

#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
}

impl Answer {
    pub fn json(&self) -> Result<Value> {
        serde_json::from_str(&self.text).with_context(|| format!("invalid JSON: {}", self.text))
    }

    /// 503 as a problem, with the time after which the client may retry.
    pub fn is_unavailable(&self) -> Result<()> {
        let is_problem = self.header("content-type") == "application/problem+json" && self.header("retry-after") == "1";
        ensure!(self.status == StatusCode::SERVICE_UNAVAILABLE && is_problem, "not a 503 as a problem: {self:?}");
        Ok(())
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

impl Site {
    pub fn new(scheme: &'static str, port: u16, token: Option<String>, interrupt: &Interrupt) -> Result<Self> {
        // Connections to a Traefik that was replaced would fail, so none are kept. Its certificate is self-signed.
        let client = Client::builder()
            .pool_max_idle_per_host(0)
            .redirect(Policy::none())
            .timeout(REQUEST_LIMIT)
            .danger_accept_invalid_certs(true);
        // The names may not resolve on this machine.
        let http = NAMES.into_iter().fold(client, |client, name| client.resolve(name, loopback(port))).build()?;
        Ok(Self { runtime: Runtime::new()?, http, scheme, port, token, auditor: None, interrupt: interrupt.clone() })
    }

    pub fn url(&self, host: &str, path: &str) -> String {
        format!("{}://{host}:{}{path}", self.scheme, self.port)
    }

    pub fn request(&self, method: Method, host: &str, path: &str) -> RequestBuilder {
        let request = self.http.request(method, self.url(host, path));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    pub fn send(&self, request: RequestBuilder) -> Result<Answer> {
        self.runtime.block_on(async {
            let reply = request.send().await?;
            let (status, headers) = (reply.status(), reply.headers().clone());
            Ok(Answer { status, headers, text: reply.text().await? })
        })
    }

    pub fn get(&self, host: &str, path: &str) -> Result<Answer> {
        self.send(self.request(Method::GET, host, path))
    }

    /// Waits until `holds` returns true, or fails after [`READY_WITHIN`].
    pub fn until(&self, what: &str, mut holds: impl FnMut() -> Result<bool>) -> Result<()> {
        let started = Instant::now();
        loop {
            let looked = holds();
            if matches!(looked, Ok(true)) {
                return Ok(());
            }
            self.interrupt.check()?;
            if started.elapsed() > READY_WITHIN {
                return looked.and_then(|_| anyhow::bail!("not within {READY_WITHIN:?}")).context(what.to_owned());
            }
            thread::sleep(POLL_INTERVAL);
        }
    }

    /// All documented addresses answer, and internal ones do not.
    pub fn has_all_addresses(&self) -> Result<()> {
        for (host, path, type_) in [
            ("localhost", "/", "text/html"),
            ("localhost", "/sales.html", "text/html"),
            ("localhost", "/api/get_current_money", "application/json"),
            ("sales.localhost", "/api/get_current_money", "application/json"),
            ("sales.localhost", "/docs/", "text/html"),
            ("sales.localhost", "/docs/command-api.json", "application/json"),
            ("sales.localhost", "/docs/query-api.json", "application/json"),
            ("sales.localhost", "/docs/events.json", "application/json"),
        ] {
            let answer = self.get(host, path)?;
            ensure!(answer.status == StatusCode::OK, "{host}{path}: {}", answer.status);
            ensure!(answer.header("content-type").starts_with(type_), "{host}{path}: {:?}", answer.headers);
            ensure!(answer.header("x-content-type-options") == "nosniff", "{host}{path}: {:?}", answer.headers);
        }
        let docs = self.get("sales.localhost", "/docs")?;
        ensure!(docs.status.is_redirection() && docs.header("location") == "/docs/", "/docs: {docs:?}");
        for internal in ["/metrics", "/livez", "/api/missing"] {
            let answer = self.get("localhost", internal)?;
            // The server of the pages answers /livez with an empty body.
            ensure!(answer.status == StatusCode::NOT_FOUND || answer.text.is_empty(), "{internal}: {answer:?}");
        }
        Ok(())
    }

    /// A purchase appears in the totals, and a reset sets them to zero. Returns the position of the reset.
    pub fn sells(&self) -> Result<i64> {
        let buy = self.http.post(self.url("localhost", "/api/buy_mpi"));
        let bought = self.send(buy.json(&json!({ "license": "pro" })))?;
        ensure!(bought.status == StatusCode::CREATED, "a purchase: {bought:?}");
        let position = bought.json()?["position"].as_i64().context("a receipt has a position")?;
        let count = self.totals(position)?["sales_count"].as_i64();
        ensure!(count.is_some_and(|count| count > 0), "the purchase is not counted: {count:?}");
        let reset = self.send(self.request(Method::DELETE, "sales.localhost", "/api/sales"))?;
        ensure!(reset.status == StatusCode::OK, "a reset: {reset:?}");
        let position = reset.json()?["position"].as_i64().context("a reset has a position")?;
        let totals = self.totals(position)?;
        ensure!(totals["sales_count"] == 0, "after the reset: {totals}");
        Ok(position)
    }

    /// Totals that include `position`.
    pub fn totals(&self, position: i64) -> Result<Value> {
        let answer = self.get("localhost", &format!("/api/get_current_money?min_position={position}"))?;
        ensure!(answer.status == StatusCode::OK, "the totals: {answer:?}");
        answer.json()
    }
}
