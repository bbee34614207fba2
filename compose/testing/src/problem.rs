//! Errors of the APIs.

use reqwest::Response;
use serde_json::Value;

/// The response is this problem, complete and with the status that it names.
pub async fn assert_problem(response: Response, status: u16, kind: &str) {
    let url = response.url().clone();
    assert_eq!(response.status(), status, "{url}: {kind}");
    assert_eq!(response.headers()["content-type"], "application/problem+json", "{url}: {kind}");
    let problem: Value = response.json().await.expect("a problem is JSON");
    assert_eq!(problem["type"], format!("urn:sales:problem:{kind}"), "{url}: {problem}");
    assert_eq!(problem["status"], status, "{url}: {problem}");
    assert!(problem["title"].is_string() && problem["detail"].is_string(), "{url}: {problem}");
}
