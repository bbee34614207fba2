//! `cargo stack test`

use std::fs;
use std::path::PathBuf;
use std::slice;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::unistd::geteuid;
use serde_json::{Value, json};

use super::up;
use crate::build_services::cargo;
use crate::cli;
use crate::data_folder::DataFolder;
use crate::docker;
use crate::interrupt::Interrupt;
use crate::options::Options;
use crate::progress::{Progress, seconds};
use crate::secrets::Secrets;
use crate::stack::Stack;
use crate::testing::{Issuer, purchased, record, reset};
use crate::tool::Tool;
use crate::{checkout, pages, prerequisites, provision};

/// The Rust program on the page about licence keys.
const VERIFY_LICENCE_KEY: &str = "verify-licence-key";

/// One part of the tests, and how it ended.
struct Section {
    name: &'static str,
    took: Duration,
    result: Result<()>,
    /// Why there was nothing to try it on.
    not_run: Option<String>,
}

pub fn run(arguments: &cli::Test) -> Result<()> {
    if arguments.docker {
        let section = images_and_compose_files();
        summary(slice::from_ref(&section))?;
        // Who asks for nothing else is not served by hearing that there was nothing to try it on.
        return section.not_run.map_or(Ok(()), |reason| bail!("not run: {reason}"));
    }
    let mut sections = Vec::new();
    // Nothing can be tested without these.
    for (name, prepare) in [("prerequisites", check as fn() -> Result<()>), ("build", up::prepare)] {
        sections.push(section(name, prepare));
        if sections.last().is_some_and(|section| section.result.is_err()) {
            return summary(&sections);
        }
    }
    sections.extend([
        section("formatting", || cargo().args(["fmt", "--check"]).run()),
        section("lints", || {
            cargo().args(["clippy", "--release", "--workspace", "--all-targets", "--", "-D", "warnings"]).run()
        }),
        section("dependencies", || {
            let deny = provision::checkers(Progress::Shown)?.join("bin/cargo-deny");
            // The build has downloaded what it needs on this machine, and the check looks at what it needs on any.
            cargo().args(["fetch", "--locked"]).run()?;
            Tool::new(deny).args(["--offline", "check", "licenses", "bans", "sources"]).run()
        }),
        section("Rust and system tests", || {
            cargo().args(["test", "--release", "--workspace"]).args(&arguments.arguments).run()
        }),
        section("pages", || {
            pages::install_packages(Progress::Shown)?;
            pages::npm(&["run", "check"]).run()?;
            pages::npm(&["run", "build"]).run()
        }),
        section("pages in a browser", browser),
    ]);
    if arguments.arguments.is_empty() {
        sections.push(images_and_compose_files());
    }
    summary(&sections)
}

fn section(name: &'static str, run: impl FnOnce() -> Result<()>) -> Section {
    println!("\n== {name}");
    let started = Instant::now();
    let result = run();
    if let Err(error) = &result {
        eprintln!("error: {error:#}");
    }
    Section { name, took: started.elapsed(), result, not_run: None }
}

fn images_and_compose_files() -> Section {
    let mut not_run = None;
    let section = section("images, Compose files", || {
        not_run = docker::test()?;
        Ok(())
    });
    Section { not_run, ..section }
}

fn summary(sections: &[Section]) -> Result<()> {
    println!();
    for Section { name, took, result, not_run } in sections {
        if let Some(reason) = not_run {
            println!("{name:<24}not run: {reason}");
            continue;
        }
        let verdict = if result.is_ok() { "passed" } else { "FAILED" };
        println!("{name:<24}{verdict:<8}{:>10}", seconds(*took));
    }
    let failed: Vec<_> =
        sections.iter().filter(|section| section.result.is_err()).map(|section| section.name).collect();
    ensure!(failed.is_empty(), "failed: {}", failed.join(", "));
    Ok(())
}

fn check() -> Result<()> {
    let is_missing = [
        ("chromium", prerequisites::chromium().is_none()),
        ("wrk", !prerequisites::has_wrk()),
        ("prometheus", !prerequisites::has_prometheus()),
        ("etcd-server", !prerequisites::has("etcd")),
        ("haproxy", !prerequisites::has("haproxy")),
        ("rsync", !prerequisites::has("rsync")),
        ("file", !prerequisites::has("file")),
    ];
    let missing = is_missing.into_iter().filter_map(|(package, missing)| missing.then_some(package));
    let missing: Vec<&str> = missing.collect();
    if !missing.is_empty() && geteuid().is_root() {
        let install = [&["install", "--yes", "--no-install-recommends"], &missing[..]].concat();
        for arguments in [vec!["update"], install] {
            let apt = Tool::new("apt-get").args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
            println!("  {}", apt.line());
            // What is said below tells more than its exit status.
            let _ = apt.run_quietly();
        }
    }
    prerequisites::check_for_tests()?;
    let chromium = prerequisites::chromium()
        .context("this machine lacks Chromium for the tests of the pages:\n  apt-get install chromium")?;
    println!("  browser {}", chromium.display());
    Ok(())
}

/// On stacks of their own, beside one that may be running: one that is open, and one that asks for tokens.
fn browser() -> Result<()> {
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

    let open = Stack::start(&options, Progress::Shown, &Interrupt::default())?;
    sell_around_the_end_of_summer_time(&open, &options)?;
    let _closed = Stack::start(&closed_options, Progress::Shown, &Interrupt::default())?;
    let tokens = folder.path().join("tokens.json");
    fs::write(&tokens, serde_json::to_vec_pretty(&tokens_of(&closed_options)?)?)?;
    pages::npm(&["run", "test:browser"])
        .env("SALES_URL", options.origin("localhost"))
        .env("SALES_API_URL", options.origin("sales.localhost"))
        .env("SALES_STATE", DataFolder::open(&options.data.folder)?.state())
        .env("SALES_SECURE_URL", closed_options.origin("localhost"))
        .env("SALES_SECURE_TOKENS", tokens)
        .env("VERIFY_PYTHONPATH", provision::licence_key_packages(Progress::Shown)?)
        .env("VERIFY_RUST", build_licence_key_example()?)
        .env("CHROMIUM", prerequisites::chromium().context("Chromium was there when the tests began")?)
        .run()
}

/// What the pages' tests find in the history of 25 October 2026, a day of 25 hours, and beside it.
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

/// The tests of the Rust side have built it already, unless they were told what to build.
fn build_licence_key_example() -> Result<PathBuf> {
    cargo().args(["build", "--release", "--workspace", "--example", VERIFY_LICENCE_KEY]).run()?;
    checkout::example(VERIFY_LICENCE_KEY)
}

/// Called by what they may do.
fn tokens_of(options: &Options) -> Result<Value> {
    let folder = DataFolder::open(&options.data.folder)?;
    let tokens = Secrets::load_or_make(&folder.secrets())?.access_tokens;
    Ok(json!({ "sales": tokens["sales-team"], "operator": tokens["operator"], "auditor": tokens["auditor"] }))
}
