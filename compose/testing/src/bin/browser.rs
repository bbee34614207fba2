//! Tests the pages in a browser, on stacks of their own.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use stack::build_services::{build_services, cargo};
use stack::data_folder::DataFolder;
use stack::interrupt::Interrupt;
use stack::progress::{Progress, report};
use stack::secrets::Secrets;
use stack::{Options, Stack, checkout, pages, prerequisites, provision};
use testing::{Issuer, purchased, record, reset};

/// The Rust program on the page about licence keys.
const VERIFY_LICENCE_KEY: &str = "verify-licence-key";
/// How often exited services are restarted.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

fn main() -> ExitCode {
    match browser() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report(format_args!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// On stacks of their own, alongside one that may be running: one that is open, and one that asks for tokens.
fn browser() -> Result<()> {
    // Takes a moment when nothing changed: no test runs against services that are older than their sources.
    build_services()?;
    let folder = tempfile::Builder::new().prefix("stack-test-").tempdir()?;
    let options = Options::on_free_ports(&folder.path().join("open"))?;
    let mut closed_options = Options::on_free_ports(&folder.path().join("closed"))?;
    let issuer = Issuer::start(&closed_options.origin("localhost"))?;
    let secret = folder.path().join("client-secret");
    issuer.write_secret(&secret)?;
    closed_options.secure = true;
    closed_options.oidc_issuer = Some(issuer.ready.issuer.clone());
    closed_options.oidc_client_id = Some(issuer.ready.client_id.clone());
    closed_options.oidc_client_secret = Some(secret);

    let mut open = Stack::start(&options, Progress::Shown, &Interrupt::default())?;
    sell_around_the_end_of_summer_time(&open, &options)?;
    let mut closed = Stack::start(&closed_options, Progress::Shown, &Interrupt::default())?;
    let tokens = folder.path().join("tokens.json");
    fs::write(&tokens, serde_json::to_vec_pretty(&tokens_of(&closed_options)?)?)?;
    let tests = pages::npm(&["run", "test:browser"])
        .env("SALES_URL", options.origin("localhost"))
        .env("SALES_API_URL", options.origin("sales.localhost"))
        .env("SALES_STATE", DataFolder::open(&options.data.folder)?.state())
        .env("SALES_SECURE_URL", closed_options.origin("localhost"))
        .env("SALES_SECURE_TOKENS", tokens)
        .env("SALES_SECURE_DATA", &closed_options.data.folder)
        .env("SALES_STACK", checkout::binary("stack")?)
        .env("VERIFY_PYTHONPATH", provision::python_packages(Progress::Shown)?)
        .env("VERIFY_RUST", build_licence_key_example()?)
        .env("CHROMIUM", prerequisites::chromium().context("Chromium was there when the tests began")?);
    thread::scope(|scope| {
        let tests = scope.spawn(|| tests.run());
        // Some of them kill services.
        while !tests.is_finished() {
            open.restart_exited();
            closed.restart_exited();
            thread::sleep(POLL_INTERVAL);
        }
        tests.join().expect("running npm does not panic")
    })
}

/// What the pages' tests find in the history of 25 October 2026, a day of 25 hours, and around it.
fn sell_around_the_end_of_summer_time(open: &Stack, options: &Options) -> Result<()> {
    let (basic, pro, enterprise) =
        (purchased("basic", 4_900), purchased("pro", 19_900), purchased("enterprise", 99_900));
    let events = [
        ("2026-10-24T21:59:59Z", basic.clone()),
        // Midnight in Berlin.
        ("2026-10-24T22:00:00Z", pro.clone()),
        // Half past two, in summer time and then in winter time.
        ("2026-10-25T00:30:00Z", pro),
        ("2026-10-25T01:30:00Z", enterprise.clone()),
        ("2026-10-25T12:00:00Z", reset()),
        ("2026-10-25T22:59:59Z", basic),
        // Midnight again, 25 hours later.
        ("2026-10-25T23:00:00Z", enterprise),
    ];
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(record(open, options, &events))
}

fn build_licence_key_example() -> Result<PathBuf> {
    cargo()
        .args(["build", "--workspace", "--example", VERIFY_LICENCE_KEY, "--profile"])
        .arg(checkout::profile()?)
        .run()?;
    checkout::example(VERIFY_LICENCE_KEY)
}

/// Called by what they may do.
fn tokens_of(options: &Options) -> Result<Value> {
    let folder = DataFolder::open(&options.data.folder)?;
    let tokens = Secrets::load_or_create(&folder.secrets())?.access_tokens;
    Ok(json!({ "sales": tokens["sales-team"], "operator": tokens["operator"], "auditor": tokens["auditor"] }))
}
