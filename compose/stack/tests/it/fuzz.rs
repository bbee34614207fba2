//! Requests made up from the OpenAPI documents, thousands of them, right and wrong ones: each is answered as the documents say, and
//! afterwards the books are right.

use std::env;
use std::path::PathBuf;
use std::process::Stdio;

use serde_json::Value;
use stack::progress::Progress;
use stack::provision;
use testing::cases;
use tokio::process::Command;

use crate::access::new_token;
use crate::running::{Running, text};

/// No 5xx, no status and no kind of body that is not documented, no endpoint that looks away when a token is wrong. What is left out is
/// whether everything that fits the documents is taken: a key that was used for something else, or a position beyond the log, is not.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,\
                      response_schema_conformance,negative_data_rejection,unsupported_method,ignored_auth";

/// Schemathesis also tries the constants of its libraries, and one of them means something else to urllib3 than a header's value.
const SCHEMATHESIS: &str = "import urllib3.connection
urllib3.connection.SKIP_HEADER = None
from schemathesis.cli import schemathesis
schemathesis()";

/// Tries one interface at the service itself, and returns how many requests that took.
async fn fuzz(checkers: PathBuf, system: &Running, service: &str, token: &str, requests: u32) -> u32 {
    let address = system.status().processes.iter().find(|process| process.name == service).expect(service).address;
    let output = Command::new("python3")
        .args(["-c", SCHEMATHESIS, "run", "--no-color"])
        .arg(format!("http://{address}/docs/{service}.json"))
        .args(["--url", &format!("http://{address}"), "--header", &format!("Authorization:Bearer {token}")])
        // It does not end: query-api's own tests make up what is asked of it.
        .args(["--exclude-path", "/api/sales/stream"])
        .args(["--checks", CHECKS, "--phases", "coverage,fuzzing"])
        // At most, for each endpoint. Some accept only a few different requests.
        .args(["--max-examples", &(requests / 10).to_string()])
        .args(env::var("PROPTEST_RNG_SEED").map(|seed| format!("--seed={seed}")))
        .args(["--generation-database", "none", "--suppress-health-check", "all", "--warnings", "off"])
        .env("PYTHONPATH", checkers)
        .current_dir(system.folder())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .expect("python3 runs");
    let told = text(&output.stdout);
    assert!(output.status.success(), "{service}:\n{told}{}", text(&output.stderr));
    let generated = told.lines().find_map(|line| line.trim().split_once(" generated")?.0.replace(',', "").parse().ok());
    generated.unwrap_or_else(|| panic!("no number of cases in\n{told}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_asked_is_answered_as_documented() {
    let system = Running::up(&["--secure"]);
    let token = new_token(&system.folder().join("access-tokens"), "fuzzer", &["sales", "auditor", "operator"]);
    let checkers = provision::checkers(Progress::Silent).unwrap();
    system.buy("basic").await;
    // Before, proofs are answered with 503, as documented; fuzzing takes any 5xx for a fault.
    let signed = async || {
        let checkpoint =
            system.request(reqwest::Method::GET, "/api/events/checkpoint").bearer_auth(&token).send().await;
        checkpoint.unwrap().status() == 200
    };
    crate::running::until("the token is known, and a checkpoint is signed", signed).await;

    let requests = cases("TEST_FUZZ_REQUESTS", 2_000);
    let commands = fuzz(checkers.clone(), &system, "command-api", &token, requests);
    let queries = fuzz(checkers, &system, "query-api", &token, requests);
    let (commands, queries) = tokio::join!(commands, queries);
    assert!(commands + queries >= requests, "{commands} commands and {queries} queries were tried");

    let audit: Value = serde_json::from_str(&system.audit(&["verify", "--json"])).unwrap();
    assert!(audit["events"].as_i64().unwrap() > 50, "{audit}");
    assert_eq!(audit["fault"], Value::Null);
    system.rebuild(&["--dry-run"]);
}
