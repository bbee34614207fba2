use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};

use reqwest::Client;
use serde_json::{Value, json};
use stack::checkout;
use stack::state::State;
use tempfile::TempDir;

/// The shortest bench, run by `cargo stack bench`, which builds the programs it needs.
fn bench(folder: &Path) -> Command {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["stack", "bench", "--quick", "--seconds=1", "--folder"]).arg(folder).stdin(Stdio::null());
    // Here `stack` is one of the programs; in the folder of a package it is not.
    cargo.current_dir(checkout::root());
    cargo
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn files(folder: &Path, ending: &str) -> Vec<String> {
    let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files = paths.filter(|path| path.extension().is_some_and(|found| found == ending));
    files.map(|path| std::fs::read_to_string(path).unwrap()).collect()
}

#[test]
fn every_section_is_measured_and_saved() {
    let folder = TempDir::new().unwrap();

    let output = bench(folder.path()).output().unwrap();

    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    let [json] = &files(folder.path(), "json")[..] else { panic!("one run saves one JSON file") };
    let report: Value = serde_json::from_str(json).unwrap();
    let sections = report["sections"].as_array().unwrap();
    let names: Vec<_> = sections.iter().map(|section| section["section"].as_str().unwrap()).collect();
    assert_eq!(
        names,
        ["purchases", "traefik", "reads", "visible", "streams", "rebuild", "watch", "footprint", "pages", "growth"]
    );
    for row in sections.iter().flat_map(|section| section["rows"].as_array().unwrap()) {
        assert!(row["measured"]["median"].as_f64().is_some_and(|median| median >= 0.0), "{row}");
        assert_eq!(row["reached"].is_boolean(), !row["target"].is_null(), "{row}");
    }
    let targets = sections.iter().flat_map(|section| section["rows"].as_array().unwrap());
    assert!(targets.filter(|row| !row["target"].is_null()).count() >= 9);
    for part in ["machine", "versions", "postgres_settings"] {
        assert!(!report["environment"][part].as_object().unwrap().is_empty(), "{part}");
    }
    assert_eq!(report["environment"]["postgres_settings"]["fsync"], "on");
    assert_eq!(report["environment"]["postgres_settings"]["synchronous_commit"], "on");
    let [page] = &files(folder.path(), "md")[..] else { panic!("one run saves one page") };
    assert!(text(&output.stdout).contains(page.as_str()));
    assert!(!folder.path().join("data").exists());
}

#[tokio::test]
async fn an_unaccounted_purchase_fails_the_run() {
    let folder = TempDir::new().unwrap();
    let mut bench =
        bench(folder.path()).arg("--only=reads").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(bench.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.any(|line| line.starts_with("[1 of 1]")));
    // The rest of the output fits into the pipe without a reader.
    let state = State::read(&folder.path().join("data/state.json")).unwrap().unwrap();
    let command_api = state.processes.iter().find(|entry| entry.name == "command-api").unwrap().address;

    let http = Client::new();
    while bench.try_wait().unwrap().is_none() {
        let purchase = http.post(format!("http://{command_api}/api/buy_mpi")).json(&json!({ "license": "pro" }));
        // It fails while command-api stops.
        let _ = purchase.send().await;
    }

    assert!(!bench.wait().unwrap().success());
    let mut error = String::new();
    bench.stderr.take().unwrap().read_to_string(&mut error).unwrap();
    assert!(error.contains("the consistency check failed"), "{error}");
    assert!(files(folder.path(), "json").is_empty());
    let logs = folder.path().join("data/logs");
    assert!(error.contains(&logs.display().to_string()) && logs.is_dir(), "{error}");
}

#[test]
fn an_unknown_section_is_refused_with_a_list_of_all() {
    let folder = TempDir::new().unwrap();
    let output = bench(folder.path()).arg("--only=purchases,latency").output().unwrap();
    assert!(!output.status.success());
    let error = text(&output.stderr);
    assert!(error.contains("latency") && error.contains("visible"), "{error}");
}
