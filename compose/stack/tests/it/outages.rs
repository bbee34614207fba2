//! Traefik's responses while replicas are dead, unreachable or not ready.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use futures::future::join_all;
use futures::{StreamExt, stream};
use reqwest::header::HOST;
use reqwest::{Client, Method, RequestBuilder, Response};
use serde_json::{Value, json};
use stack::interrupt::Interrupt;
use stack::ports;
use stack::process::Process;
use stack::traefik::Traefik;
use tempfile::TempDir;
use testing::{assert_problem, tools};
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::sync::mpsc::unbounded_channel;
use uuid::Uuid;

use crate::running::{Frozen, Running, kill_and_wait, until};
use crate::web::{page_server, problem_documents};

const KEY: &str = "8e03978e-40d5-43e8-bc93-6894a57f9324";

/// Traefik with the documents of problems, and without services.
struct Alone {
    address: SocketAddr,
    http: Client,
    _servers: [Process; 2],
    _folder: TempDir,
}

impl Alone {
    /// `services`: the addresses of each service. Further variables override those of the native system.
    fn start(services: &[SocketAddr], variables: &[(&str, &str)]) -> Self {
        let folder = TempDir::new().unwrap();
        let pages = page_server(problem_documents(), folder.path().join("web.log"));
        let traefik = Traefik {
            binary: tools().traefik.clone(),
            folder: folder.path().to_owned(),
            log: folder.path().join("traefik.log"),
            web: ports::free().unwrap(),
            dashboard: ports::free().unwrap(),
            command_api: services.to_vec(),
            query_api: services.to_vec(),
            pages: vec![pages.address],
            limit_per_address: None,
            tls: None,
        };
        let mut server = traefik.server().unwrap();
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        server.program.environment.extend(variables);
        let servers = [pages, server].map(|server| server.start_and_wait(&Interrupt::default()).unwrap());
        Self { address: traefik.web, http: Client::new(), _servers: servers, _folder: folder }
    }

    fn request(&self, host: &str, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("http://{}{path}", self.address)).header(HOST, host)
    }
}

async fn assert_unavailable(response: Response) {
    assert_eq!(response.headers()["retry-after"], "1", "{}", response.url());
    assert_problem(response, 503, "unavailable").await;
}

#[tokio::test]
async fn a_deployed_traefik_without_services_answers_503_and_not_404() {
    let proxy = Alone::start(&[], &[("SALES_HOST", "shop.example"), ("SALES_PROVIDER", "swarm")]);
    for (host, method, path) in [
        ("shop.example", Method::GET, "/"),
        ("shop.example", Method::GET, "/api/get_current_money"),
        ("shop.example", Method::POST, "/api/buy_mpi"),
        ("sales.shop.example", Method::POST, "/api/buy_mpi"),
        ("shop.example", Method::DELETE, "/api/sales"),
        ("sales.shop.example", Method::GET, "/api/events"),
    ] {
        assert_unavailable(proxy.request(host, method, path).send().await.unwrap()).await;
    }
    for host in ["sales.shop.example", "localhost", "127.0.0.1"] {
        assert_eq!(proxy.request(host, Method::GET, "/").send().await.unwrap().status(), 404, "{host}");
    }
}

#[tokio::test]
async fn without_a_reachable_replica_every_request_is_answered_503() {
    let proxy = Alone::start(&[ports::free().unwrap()], &[]);
    let requests = [
        (Method::GET, "/api/get_current_money", None),
        (Method::HEAD, "/api/get_current_money", None),
        (Method::GET, "/api/sales/history?interval=day", None),
        (Method::GET, "/docs/command-api.json", None),
        (Method::POST, "/api/session", None),
        (Method::POST, "/api/buy_mpi", None),
        (Method::POST, "/api/buy_mpi", Some(KEY)),
        (Method::DELETE, "/api/sales", None),
        (Method::DELETE, "/api/sales", Some(KEY)),
    ];
    let answered = requests.map(|(method, path, key)| {
        let request = proxy.request("localhost", method.clone(), path).json(&json!({ "license": "pro" }));
        let request = key.into_iter().fold(request, |request, key| request.header("Idempotency-Key", key));
        async move {
            let response = request.send().await.unwrap();
            if method == Method::HEAD {
                assert_eq!(response.status(), 503);
            } else {
                assert_unavailable(response).await;
            }
        }
    });
    join_all(answered).await;
}

/// A sign-in may have used up its one-time code.
#[tokio::test]
async fn a_sign_in_that_a_replica_has_seen_is_not_repeated() {
    let breaking = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = Alone::start(&[breaking.local_addr().unwrap()], &[]);
    // Reads the beginning of each request, and breaks the connection.
    let (sender, mut seen) = unbounded_channel();
    let replica = tokio::spawn(async move {
        loop {
            let (mut peer, _) = breaking.accept().await.unwrap();
            let mut head = [0; 1024];
            let length = peer.read(&mut head).await.unwrap_or(0);
            sender.send(String::from_utf8_lossy(&head[..length]).into_owned()).unwrap();
        }
    });
    for (method, repeated) in [(Method::POST, false), (Method::DELETE, true)] {
        let request = proxy.request("localhost", method.clone(), "/api/session").json(&json!({ "token": "once_x" }));
        assert_unavailable(request.send().await.unwrap()).await;
        let request_line = format!("{method} /api/session ");
        let attempts = std::iter::from_fn(|| seen.try_recv().ok()).filter(|head| head.starts_with(&request_line));
        let attempts = attempts.count();
        assert!(if repeated { attempts > 1 } else { attempts == 1 }, "{method}: {attempts}");
    }
    replica.abort();
}

/// Health checks also fail while a machine is busy.
#[tokio::test]
async fn a_service_that_fails_its_health_check_answers_itself() {
    let system = Running::up(&[]);
    system.buy("basic").await;
    let no_restarts = Frozen::new(system.supervisor());
    kill_and_wait(system.pid("postgres")).await;
    let purchase = || system.request(Method::POST, "/api/buy_mpi").json(&json!({ "license": "pro" })).send();
    until("the health check has failed", async || {
        purchase().await.unwrap();
        system.healthy_replicas("command-api").await == 0
    })
    .await;
    for _ in 0..3 {
        assert_unavailable(purchase().await.unwrap()).await;
    }
    assert_eq!(system.request(Method::GET, "/api/get_current_money").send().await.unwrap().status(), 200);
    drop(no_restarts);
    until("purchases succeed", async || purchase().await.unwrap().status() == 201).await;
}

#[tokio::test]
async fn purchases_with_a_key_succeed_while_a_replica_is_killed() {
    const PURCHASES: usize = 300;
    const AT_ONCE: usize = 16;
    const ROUNDS: usize = 3;
    let system = Running::up(&["--replicas=command-api=2"]);
    for _ in 0..ROUNDS {
        until("both replicas are healthy", async || system.healthy_replicas("command-api").await == 2).await;
        let victim = system.pid("command-api-2");
        let mut purchases = stream::iter(0..PURCHASES)
            .map(|_| {
                let request = system.request(Method::POST, "/api/buy_mpi").json(&json!({ "license": "basic" }));
                request.header("Idempotency-Key", Uuid::new_v4().to_string()).send()
            })
            .buffer_unordered(AT_ONCE)
            .enumerate();
        while let Some((count, response)) = purchases.next().await {
            assert_eq!(response.unwrap().status(), 201, "purchase {count}");
            if count == AT_ONCE {
                kill_and_wait(victim).await;
            }
        }
    }
    let last = i64::try_from(ROUNDS * PURCHASES).unwrap();
    assert_eq!(system.totals(last).await["sales_count"], last, "each is counted once");
}

#[tokio::test]
async fn a_purchase_that_no_replica_has_seen_is_sent_to_another_one() {
    let system = Running::up(&["--replicas=command-api=2"]);
    let _no_restarts = Frozen::new(system.supervisor());
    kill_and_wait(system.pid("command-api-2")).await;
    for position in 1..=10 {
        assert_eq!(system.buy("basic").await, position);
    }
}

#[tokio::test]
async fn a_retried_purchase_is_recorded_once_when_command_api_is_killed() {
    let system = Running::up(&["--replicas=command-api=2"]);
    let buy = async || {
        system
            .request(Method::POST, "/api/buy_mpi")
            .header("Idempotency-Key", KEY)
            .json(&json!({ "license": "basic" }))
            .send()
            .await
            .unwrap()
    };
    let victim = nix::unistd::Pid::from_raw(system.pid("command-api-2"));
    nix::sys::signal::kill(victim, nix::sys::signal::Signal::SIGKILL).unwrap();

    // Some requests reach the dead replica before the health check removes it; Traefik retries them.
    let mut purchases = BTreeSet::new();
    let mut last = 0;
    for _ in 0..20 {
        let reply = buy().await;
        assert_eq!(reply.status(), 201);
        let receipt: Value = reply.json().await.unwrap();
        purchases.insert(receipt["purchase_id"].to_string());
        last = receipt["position"].as_i64().unwrap();
    }
    assert_eq!(purchases.len(), 1);
    assert_eq!(system.totals(last).await["sales_count"], 1);
}
