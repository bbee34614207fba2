use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::Value;

use crate::running::{Running, until};

#[tokio::test]
async fn traefik_routes_each_request_to_its_service() {
    let system = Running::up(&["--replicas=query-api=2"]);
    let get = async |host: &str, path: &str| system.request_to(host, Method::GET, path).send().await.unwrap();

    for host in ["localhost", "127.0.0.1", "sales.localhost"] {
        assert_eq!(get(host, "/api/get_current_money").await.status(), 200, "{host}");
        for api in ["command-api", "query-api"] {
            let openapi: Value = get(host, &format!("/docs/{api}.json")).await.json().await.unwrap();
            assert!(openapi["openapi"].is_string(), "{host} {api}");
        }
        let asyncapi: Value = get(host, "/docs/events.json").await.json().await.unwrap();
        assert!(asyncapi["asyncapi"].is_string(), "{host}");
        let docs = get(host, "/docs/").await;
        assert_eq!(docs.headers()["content-type"], "text/html", "{host}");
        let html = docs.text().await.unwrap();
        let script = html.split('"').find(|part| part.starts_with("/assets/")).expect("the docs have a script");
        assert_eq!(get(host, script).await.status(), 200, "{host} {script}");
    }
    let export =
        system.request(Method::GET, "/api/events").header("accept", "application/x-ndjson").send().await.unwrap();
    assert_eq!(export.headers()["content-type"], "application/x-ndjson");
    for page in ["/", "/sales.html"] {
        assert_eq!(get("localhost", page).await.status(), 200, "{page}");
        assert_eq!(get("sales.localhost", page).await.status(), 404, "{page}");
    }
    for internal in ["/metrics", "/api/missing"] {
        assert_eq!(get("localhost", internal).await.status(), 404, "{internal}");
    }
    assert_eq!(get("elsewhere.example", "/").await.status(), 404);
    // 405 comes from command-api: query-api has no such path.
    assert_eq!(get("localhost", "/api/buy_mpi").await.status(), 405);
}

/// The proxy sends each path to the service that has it, whatever the method.
#[tokio::test]
async fn a_wrong_method_is_answered_405_with_the_methods_of_the_path() {
    let system = Running::up(&[]);
    let mut refused = 0;
    for service in ["command-api", "query-api"] {
        let document = system.request(Method::GET, &format!("/docs/{service}.json")).send().await.unwrap();
        let openapi: Value = document.json().await.unwrap();
        for (template, operations) in openapi["paths"].as_object().unwrap() {
            let path = template.split('/').map(|part| if part.starts_with('{') { "1" } else { part });
            let path = path.collect::<Vec<_>>().join("/");
            let mut expected: BTreeSet<_> =
                operations.as_object().unwrap().keys().map(|name| name.to_uppercase()).collect();
            if expected.contains("GET") {
                expected.insert("HEAD".to_owned());
            }
            for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
                if expected.contains(method) {
                    continue;
                }
                let response = system.request(method.parse().unwrap(), &path).send().await.unwrap();
                assert_eq!(response.status(), 405, "{method} {path}");
                let allowed = response.headers()["allow"].to_str().unwrap().split(',');
                let allowed: BTreeSet<_> = allowed.map(|method| method.trim().to_owned()).collect();
                assert_eq!(allowed, expected, "{method} {path}");
                refused += 1;
            }
        }
    }
    assert!(refused > 50, "{refused} wrong methods were tried");
}

/// The bytes differ, so a strong tag or a cache that ignores the encoding would mix them up.
#[tokio::test]
async fn the_encodings_of_a_history_share_only_a_weak_tag() {
    let system = Running::up(&[]);
    for encoding in ["identity", "gzip", "br", "zstd"] {
        let request =
            system.request(Method::GET, "/api/sales/history?interval=hour").header("accept-encoding", encoding);
        let response = request.send().await.unwrap();
        let headers = response.headers();
        let sent = headers.get("content-encoding").map_or("identity", |sent| sent.to_str().unwrap());
        assert_eq!(sent, encoding);
        assert!(headers["etag"].to_str().unwrap().starts_with("W/\""), "{encoding}: {headers:?}");
        let vary =
            headers.get_all("vary").iter().any(|vary| vary.to_str().unwrap().eq_ignore_ascii_case("accept-encoding"));
        assert!(vary, "{encoding}: {headers:?}");
    }
}

#[tokio::test]
async fn all_responses_have_the_security_headers() {
    let system = Running::up(&[]);
    for path in ["/", "/sales.html", "/docs/", "/missing", "/api/get_current_money", "/docs/query-api.json"] {
        let reply = system.request(Method::GET, path).send().await.unwrap();
        let headers = reply.headers();
        assert_eq!(headers["x-content-type-options"], "nosniff", "{path}");
        assert_eq!(headers["referrer-policy"], "no-referrer", "{path}");
        assert_eq!(headers["cross-origin-opener-policy"], "same-origin", "{path}");
        assert_eq!(headers["cross-origin-resource-policy"], "same-origin", "{path}");
        assert!(headers.contains_key("permissions-policy"), "{path}");
        let policy = headers["content-security-policy"].to_str().unwrap();
        assert!(
            policy.starts_with("default-src 'none'") && policy.contains("frame-ancestors 'none'"),
            "{path}: {policy}"
        );
        assert!(!policy.contains("unsafe"), "{path}: {policy}");
    }
}

#[tokio::test]
async fn requests_are_balanced_over_the_replicas_without_a_frozen_one() {
    let system = Running::up(&["--replicas=query-api=2"]);
    let up = async || system.healthy_replicas("query-api").await;
    assert_eq!(up().await, 2);
    let frozen = nix::unistd::Pid::from_raw(system.pid("query-api-2"));

    nix::sys::signal::kill(frozen, nix::sys::signal::Signal::SIGSTOP).unwrap();
    until("Traefik has noticed", async || up().await == 1).await;
    for _ in 0..10 {
        system.totals(0).await;
    }
    nix::sys::signal::kill(frozen, nix::sys::signal::Signal::SIGCONT).unwrap();
    until("Traefik has noticed", async || up().await == 2).await;
}

/// During an update, Traefik looks for a missing page in the other version.
#[tokio::test]
async fn a_missing_page_is_missing_for_every_method() {
    let system = Running::up(&[]);
    for path in ["/missing", "/assets/missing.js"] {
        for _ in 0..30 {
            for method in [Method::GET, Method::HEAD] {
                let response = system.request(method.clone(), path).send().await.unwrap();
                assert_eq!(response.status(), 404, "{method} {path}");
            }
        }
    }
}
