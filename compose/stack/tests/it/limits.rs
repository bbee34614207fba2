//! Clients that send too much, too slowly or too often are rejected, and other clients are still served.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures::future::join_all;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use reqwest::{Certificate, Client, Method, StatusCode};
use serde_json::{Value, json};
use stack::{open_files, ports};
use testing::assert_problem;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::running::{Running, until};

/// Idle connections per entry point.
const IDLE: usize = 5000;
/// Longer than all limits, of which half a minute is the longest.
const CUT_OFF_TIMEOUT: Duration = Duration::from_mins(1);
/// Upper bound for a purchase and a query on a busy machine.
const SERVE_TIMEOUT: Duration = Duration::from_secs(10);

/// The addresses of Traefik and of both APIs.
fn entry_points(system: &Running) -> Vec<(String, SocketAddr)> {
    let status = system.status();
    let services =
        status.processes.into_iter().filter(|process| ["command-api", "query-api"].contains(&process.name.as_str()));
    services
        .map(|process| (process.name, process.address))
        .chain([("traefik".to_owned(), ports::loopback(system.http_port()))])
        .collect()
}

async fn assert_served(system: &Running) {
    let served = async {
        let position = system.buy("basic").await;
        system.totals(position).await;
    };
    timeout(SERVE_TIMEOUT, served).await.expect("others are served");
}

/// The response to a request, until the server closes the connection.
async fn answer_to(address: SocketAddr, request: &[u8]) -> String {
    let mut peer = TcpStream::connect(address).await.unwrap();
    // The server may close the connection before it has read the whole request.
    let _ = peer.write_all(request).await;
    let mut answer = Vec::new();
    let _ = timeout(CUT_OFF_TIMEOUT, peer.read_to_end(&mut answer)).await.expect("the server closes the connection");
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn thousands_of_idle_connections_do_not_prevent_purchases() {
    open_files::allow(3 * IDLE as u64 + 500).unwrap();
    let system = Running::up(&[]);
    let mut idle = Vec::new();
    for (name, address) in entry_points(&system) {
        for chunk in 0..IDLE / 100 {
            let opened = join_all((0..100).map(|_| TcpStream::connect(address))).await;
            idle.extend(opened.into_iter().map(|peer| peer.unwrap_or_else(|error| panic!("{name}, {chunk}: {error}"))));
        }
        assert_served(&system).await;
    }
    assert_eq!(idle.len(), 3 * IDLE);
}

#[tokio::test]
async fn slow_senders_are_disconnected_and_others_are_served() {
    let system = Running::up(&[]);
    let slow = entry_points(&system).into_iter().map(|(name, address)| async move {
        let head = answer_to(address, b"POST /api/buy_mpi HTTP/1.1\r\nhost: localhost\r\n").await;
        // Traefik and hyper close the connection, with or without a 408.
        assert!(head.is_empty() || head.starts_with("HTTP/1.1 408"), "{name}: {head}");
    });
    let slow = tokio::spawn(async move { join_all(slow).await });
    while !slow.is_finished() {
        assert_served(&system).await;
    }
    slow.await.unwrap();
}

#[tokio::test]
async fn an_incomplete_body_is_answered_408() {
    let system = Running::up(&[]);
    let (_, command_api) = entry_points(&system).into_iter().find(|(name, _)| name == "command-api").unwrap();
    let started = Instant::now();
    let request = "POST /api/buy_mpi HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: 20\r\n\r\n{";
    let answer = answer_to(command_api, request.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert!(answer.contains("urn:sales:problem:body-too-slow"), "{answer}");
    assert!(started.elapsed() > Duration::from_secs(4));
    assert_served(&system).await;
}

/// With a key or without a length, Traefik reads the body itself.
#[tokio::test]
async fn an_unreadable_body_is_answered_4xx_through_traefik() {
    let system = Running::up(&[]);
    let address = ports::loopback(system.http_port());
    let (key, no_key) = ("idempotency-key: a\r\n", "");
    let half = "content-length: 20\r\n\r\n{";
    let no_chunk = "transfer-encoding: chunked\r\n\r\nzz\r\n";
    let (slow, malformed) = (Some("body-too-slow"), Some("unreadable-body"));
    let cases = [
        ("/api/buy_mpi", no_key, half, 408, slow),
        // Traefik has given up the connection, and cannot fetch the document any more.
        ("/api/buy_mpi", key, half, 400, None),
        ("/api/session", no_key, half, 400, None),
        ("/api/buy_mpi", no_key, no_chunk, 400, malformed),
        ("/api/buy_mpi", key, no_chunk, 400, malformed),
        ("/api/session", no_key, no_chunk, 400, malformed),
    ];
    join_all(cases.map(|(path, key, body, status, problem)| async move {
        let head = format!("POST {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{key}");
        let request = format!("{head}content-type: application/json\r\n{body}");
        let answer = answer_to(address, request.as_bytes()).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request}: {answer}");
        if let Some(kind) = problem {
            assert!(answer.contains("application/problem+json"), "{request}: {answer}");
            assert!(answer.contains(&format!("urn:sales:problem:{kind}")), "{request}: {answer}");
        }
    }))
    .await;
    assert_served(&system).await;
}

#[tokio::test]
async fn one_address_cannot_hold_all_exports() {
    let system = Running::up(&[]);
    // A request that has not arrived completely counts.
    let unfinished =
        b"GET /api/events HTTP/1.1\r\nhost: localhost\r\naccept: application/x-ndjson\r\ncontent-length: 5\r\n\r\n";
    let hold = async || {
        let mut peer = TcpStream::connect(ports::loopback(system.http_port())).await.unwrap();
        peer.write_all(unfinished).await.unwrap();
        peer
    };
    let export = || system.request(Method::GET, "/api/events").header("accept", "application/x-ndjson").send();
    let mut refused = None;
    until("another export is refused", async || {
        let _held = [hold().await, hold().await, hold().await, hold().await];
        refused = Some(export().await.unwrap());
        refused.as_ref().is_some_and(|response| response.status() == 429)
    })
    .await;
    let refused = refused.unwrap();
    assert_eq!(refused.headers()["retry-after"], "1");
    assert_problem(refused, 429, "too-many-requests").await;
    assert_eq!(system.request(Method::GET, "/api/events").send().await.unwrap().status(), 200);
    until("there is room again", async || export().await.unwrap().status() == 200).await;
}

#[tokio::test]
async fn oversized_heads_and_bodies_are_rejected() {
    let system = Running::up(&[]);
    for (name, address) in entry_points(&system) {
        let head =
            format!("GET /api/get_current_money HTTP/1.1\r\nhost: localhost\r\nx-much: {}\r\n\r\n", "x".repeat(40_000));
        let answer = answer_to(address, head.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 431"), "{name}: {answer}");
    }
    for size in [3_000, 17_000, 60_000] {
        for key in [Some("much"), None] {
            let purchase = json!({ "license": "basic", "more": "x".repeat(size) });
            let request = system.request(Method::POST, "/api/buy_mpi").json(&purchase);
            let refused = key.into_iter().fold(request, |request, key| request.header("idempotency-key", key));
            let refused = refused.send().await.unwrap();
            let status = refused.status();
            assert_eq!(refused.headers()["content-type"], "application/problem+json", "{size}");
            let problem: Value = refused.json().await.unwrap();
            let too_large = (413, "urn:sales:problem:body-too-large");
            let not_a_purchase = (422, "urn:sales:problem:invalid-body");
            let allowed: &[(u16, &str)] = match key {
                _ if size > 16_384 => &[too_large],
                None => &[not_a_purchase],
                // Larger than Traefik's buffer for retries. Traefik forwards it, but its first versions 3.7 rejected it.
                Some(_) => &[not_a_purchase, too_large],
            };
            let answered = (status.as_u16(), problem["type"].as_str().unwrap());
            assert!(allowed.contains(&answered), "{size} bytes with the key {key:?}: {answered:?}");
        }
        let token = json!({ "token": "x".repeat(size) });
        let sign_in = system.request(Method::POST, "/api/session").header("sec-fetch-site", "same-origin");
        let signed_in = sign_in.json(&token).send().await.unwrap();
        let (status, content_type) =
            if size < 16_384 { (200, "application/json") } else { (413, "application/problem+json") };
        assert_eq!(signed_in.status(), status, "{size}");
        assert_eq!(signed_in.headers()["content-type"], content_type, "{size}");
    }
    assert_served(&system).await;
}

#[tokio::test]
async fn requests_beyond_the_rate_limit_of_an_address_are_answered_429() {
    let system = Running::up(&["--limit-per-address=5"]);
    let mut asked: Vec<_> = (0..60).map(|_| system.request(Method::GET, "/api/get_current_money").send()).collect();
    let refused_at_once = asked.len() - 20;
    let answers: Vec<_> = join_all(asked.drain(..)).await.into_iter().map(Result::unwrap).collect();
    let served = answers.iter().filter(|answer| answer.status() == 200).count();
    assert!(served >= 10, "{served} of a burst of 10 were served");
    let mut refused = 0;
    for answer in answers.into_iter().filter(|answer| answer.status() != 200) {
        refused += 1;
        assert_eq!(answer.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(answer.headers()["content-type"], "application/problem+json");
        assert_eq!(answer.headers()["retry-after"], "1");
        assert_eq!(answer.json::<Value>().await.unwrap()["type"], "urn:sales:problem:too-many-requests");
    }
    assert!(refused >= refused_at_once, "{refused} of 60 were refused");
}

#[tokio::test]
async fn over_tls_the_session_cookie_belongs_to_the_host_alone() {
    let system = Running::prepare();
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (certificate, key) = (system.folder().join("certificate.pem"), system.folder().join("key.pem"));
    std::fs::write(&certificate, cert.pem()).unwrap();
    std::fs::write(&key, signing_key.serialize_pem()).unwrap();
    let file = |name: &str, path: &std::path::Path| format!("{name}={}", path.display());
    system.up_again(&["--secure", &file("--tls-certificate", &certificate), &file("--tls-key", &key)]);

    let trusting = Client::builder().add_root_certificate(Certificate::from_pem(cert.pem().as_bytes()).unwrap());
    let client = trusting.https_only(true).resolve("localhost", ports::loopback(system.http_port())).build().unwrap();
    let url = format!("https://localhost:{}", system.http_port());
    assert!(system.status_json()["urls"]["shop"].as_str().unwrap().starts_with(&url));
    let secrets: Value = serde_json::from_slice(&std::fs::read(system.folder().join("secrets.json")).unwrap()).unwrap();
    let session = client
        .post(format!("{url}/api/session"))
        .header("sec-fetch-site", "same-origin")
        .json(&json!({ "token": secrets["access_tokens"]["sales-team"] }))
        .send()
        .await
        .unwrap();
    assert!(session.status().is_success(), "{}", session.status());
    assert_eq!(session.headers()["strict-transport-security"], "max-age=31536000");
    let cookie = session.headers()["set-cookie"].to_str().unwrap();
    assert!(cookie.starts_with("__Host-session="), "{cookie}");
    for attribute in ["HttpOnly", "SameSite=Strict", "Secure", "Path=/"] {
        assert!(cookie.split("; ").any(|part| part == attribute), "{cookie}");
    }
    // The service finds it again.
    let cookie = cookie.split(';').next().unwrap();
    let known = client.get(format!("{url}/api/session")).header("cookie", cookie).send().await.unwrap();
    assert_eq!(known.json::<Value>().await.unwrap()["subject"], "sales-team");
    // The port rejects plain HTTP.
    let plain = system.request(Method::GET, "/").send().await.unwrap();
    assert!(plain.status().is_client_error(), "{}", plain.status());
}
