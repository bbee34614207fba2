//! Builds the pages in `web/` with Vite.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::checkout;
use crate::fingerprint::Fingerprint;
use crate::progress::Progress;
use crate::tool::Tool;

/// Written by npm and the tests.
const NOT_SOURCES: &[&str] = &["node_modules", "dist", "generated", "test-results", "playwright-report"];

pub fn sources() -> PathBuf {
    checkout::root().join("web")
}

/// The built pages.
pub fn folder() -> PathBuf {
    sources().join("dist")
}

/// Builds the pages unless they are up to date.
pub fn build(progress: Progress) -> Result<()> {
    install_packages(progress)?;
    let fingerprint = Fingerprint::default()
        .path(&sources(), NOT_SOURCES)?
        .path(&checkout::root().join("shared/contract/catalogue.json"), &[])?
        .finish();
    fs::create_dir_all(checkout::stack_folder())?;
    let stamp = checkout::stack_folder().join("pages.stamp");
    if contains(&stamp, &fingerprint) && folder().is_dir() {
        return Ok(());
    }
    progress.step("pages", || npm(&["run", "build"]).run_quietly())?;
    write(&stamp, &fingerprint)
}

/// Installs the npm packages unless they are up to date. `npm ci` first removes the folder that contains the stamp, so an
/// interrupted installation is repeated.
pub fn install_packages(progress: Progress) -> Result<()> {
    let fingerprint = Fingerprint::default().path(&sources().join("package-lock.json"), &[])?.finish();
    let stamp = sources().join("node_modules/.stack.stamp");
    if contains(&stamp, &fingerprint) {
        return Ok(());
    }
    progress.step("npm packages", || npm(&["ci", "--no-audit", "--no-fund"]).run_quietly())?;
    write(&stamp, &fingerprint)
}

pub fn npm(arguments: &[&str]) -> Tool {
    Tool::new("npm").args(arguments).in_folder(&sources())
}

fn contains(stamp: &Path, fingerprint: &str) -> bool {
    fs::read_to_string(stamp).is_ok_and(|text| text == fingerprint)
}

fn write(stamp: &Path, fingerprint: &str) -> Result<()> {
    fs::write(stamp, fingerprint).with_context(|| format!("cannot write {}", stamp.display()))
}
