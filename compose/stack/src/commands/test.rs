//! `cargo stack test`

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::unistd::geteuid;

use super::up;
use crate::build_services::cargo;
use crate::cli;
use crate::interrupt::Interrupt;
use crate::options::Options;
use crate::progress::{Progress, seconds};
use crate::stack::Stack;
use crate::tool::Tool;
use crate::{pages, prerequisites};

/// One part of the tests, and how it ended.
struct Section {
    name: &'static str,
    took: Duration,
    result: Result<()>,
}

pub fn run(arguments: &cli::Test) -> Result<()> {
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
    summary(&sections)
}

fn section(name: &'static str, run: impl FnOnce() -> Result<()>) -> Section {
    println!("\n== {name}");
    let started = Instant::now();
    let result = run();
    if let Err(error) = &result {
        eprintln!("error: {error:#}");
    }
    Section { name, took: started.elapsed(), result }
}

fn summary(sections: &[Section]) -> Result<()> {
    println!();
    for Section { name, took, result } in sections {
        let verdict = if result.is_ok() { "passed" } else { "FAILED" };
        println!("{name:<24}{verdict:<8}{:>10}", seconds(*took));
    }
    let failed: Vec<_> =
        sections.iter().filter(|section| section.result.is_err()).map(|section| section.name).collect();
    ensure!(failed.is_empty(), "failed: {}", failed.join(", "));
    Ok(())
}

fn check() -> Result<()> {
    let is_missing = [("chromium", prerequisites::chromium().is_none()), ("wrk", !prerequisites::has_wrk())];
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
    prerequisites::check_for_benches()?;
    let chromium = prerequisites::chromium()
        .context("this machine lacks Chromium for the tests of the pages:\n  apt-get install chromium")?;
    println!("  browser {}", chromium.display());
    Ok(())
}

/// On a stack of its own, beside one that may be running.
fn browser() -> Result<()> {
    let folder = tempfile::Builder::new().prefix("stack-test-").tempdir()?;
    let options = Options::on_free_ports(folder.path())?;
    let stack = Stack::start(&options, Progress::Shown, &Interrupt::default())?;
    let result = drive_browser(&stack, &options, folder.path());
    stack.stop();
    result
}

fn drive_browser(stack: &Stack, options: &Options, folder: &Path) -> Result<()> {
    let status = folder.join("status.json");
    fs::write(&status, serde_json::to_vec_pretty(&stack.status())?)?;
    pages::npm(&["run", "test:browser"])
        .env("SALES_URL", format!("http://localhost:{}", options.http_port))
        .env("SALES_API_URL", format!("http://sales.localhost:{}", options.http_port))
        .env("SALES_STATUS", status)
        .env("CHROMIUM", prerequisites::chromium().context("Chromium was there when the tests began")?)
        .run()
}
