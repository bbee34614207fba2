//! The pages in `web/`, built by Vite when something changed.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::checkout;
use crate::fingerprint::Fingerprint;
use crate::progress::Progress;
use crate::tool::Tool;

/// What npm and the tests write beside the sources.
const NOT_SOURCES: &[&str] = &["node_modules", "dist", "generated", "test-results", "playwright-report"];

pub fn sources() -> PathBuf {
    checkout::root().join("web")
}

/// What the web server serves.
pub fn folder() -> PathBuf {
    sources().join("dist")
}

/// Builds the pages, unless they were built from the same sources before.
pub fn build(progress: Progress) -> Result<()> {
    install_packages(progress)?;
    let made_from = Fingerprint::default()
        .path(&sources(), NOT_SOURCES)?
        .path(&checkout::root().join("shared/contract/catalogue.json"), &[])?
        .finish();
    fs::create_dir_all(checkout::stack_folder())?;
    let stamp = checkout::stack_folder().join("pages.stamp");
    if says(&stamp, &made_from) && folder().is_dir() {
        return Ok(());
    }
    progress.step("pages", || npm(&["run", "build"]).run_quietly())?;
    write(&stamp, &made_from)
}

/// Installs what the pages are built with, unless it is there. The stamp lies in the folder that `npm ci` removes
/// first: an interrupted one is done again.
pub fn install_packages(progress: Progress) -> Result<()> {
    let made_from = Fingerprint::default().path(&sources().join("package-lock.json"), &[])?.finish();
    let stamp = sources().join("node_modules/.stack.stamp");
    if says(&stamp, &made_from) {
        return Ok(());
    }
    progress.step("packages of the pages", || npm(&["ci", "--no-audit", "--no-fund"]).run_quietly())?;
    write(&stamp, &made_from)
}

pub fn npm(arguments: &[&str]) -> Tool {
    Tool::new("npm").args(arguments).in_folder(&sources())
}

fn says(stamp: &Path, made_from: &str) -> bool {
    fs::read_to_string(stamp).is_ok_and(|text| text == made_from)
}

fn write(stamp: &Path, made_from: &str) -> Result<()> {
    fs::write(stamp, made_from).with_context(|| format!("cannot write {}", stamp.display()))
}
