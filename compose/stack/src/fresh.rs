//! Programs of the workspace for its tests, never older than their sources.
//!
//! Cargo builds the programs of the packages that are tested, and leaves those of other packages as they are. Cargo also is the one
//! judge of whether a program is up to date. The first test of a run that needs a program therefore lets cargo build it, which takes a
//! fraction of a second when nothing changed. The other tests of the run wait, then use the same file.

use std::env;
use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::process::{self, Command};
use std::sync::OnceLock;
use std::time::SystemTime;

#[cfg(test)]
mod tests;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Binary,
    Example,
}

/// The folder of tests in a target folder.
const TESTS: &str = "deps";

/// Whether this process is a test.
pub fn is_test() -> bool {
    env::current_exe().is_ok_and(|executable| executable.parent().is_some_and(|folder| folder.ends_with(TESTS)))
}

/// Builds a program of the workspace in the profile and target folder of this process, once per test run.
pub fn program(workspace: &Path, kind: Kind, name: &str) -> io::Result<PathBuf> {
    // Cargo has built it together with the test of its own package.
    if let Some(built) = env::var_os(format!("CARGO_BIN_EXE_{name}")) {
        return Ok(built.into());
    }
    let executable = env::current_exe()?;
    let profile = executable.ancestors().find(|folder| folder.ends_with(TESTS)).and_then(Path::parent);
    let profile = profile.ok_or_else(|| io::Error::other(format!("{} is not a test", executable.display())))?;
    let folder = profile.join("fresh");
    fs::create_dir_all(&folder)?;
    let mut stamp = File::options().read(true).write(true).create(true).truncate(false).open(folder.join(name))?;
    stamp.lock()?;
    let mut built_by = String::new();
    stamp.read_to_string(&mut built_by)?;
    if built_by != this_run() {
        build(workspace, profile, kind, name)?;
        stamp.rewind()?;
        stamp.set_len(0)?;
        stamp.write_all(this_run().as_bytes())?;
    }
    Ok(match kind {
        Kind::Binary => profile.join(name),
        Kind::Example => profile.join("examples").join(name),
    })
}

fn build(workspace: &Path, profile: &Path, kind: Kind, name: &str) -> io::Result<()> {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // For the whole workspace: for a choice of packages cargo would choose other features, and build again.
    cargo.current_dir(workspace).args(["build", "--quiet", "--workspace"]);
    cargo.arg(match kind {
        Kind::Binary => "--bin",
        Kind::Example => "--example",
    });
    cargo.arg(name).arg("--profile").arg(match profile.file_name() {
        Some(folder) if folder == "debug" => "dev".as_ref(),
        Some(folder) => folder,
        None => return Err(io::Error::other(format!("{} has no name", profile.display()))),
    });
    cargo.arg("--target-dir").arg(profile.parent().unwrap_or(profile));
    let output = cargo.output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(io::Error::other(format!("cannot build {name}:\n{}", String::from_utf8_lossy(&output.stderr))))
}

/// Identifies a run of nextest, which starts a process per test, or else this process.
fn this_run() -> &'static str {
    static RUN: OnceLock<String> = OnceLock::new();
    RUN.get_or_init(|| {
        env::var("NEXTEST_RUN_ID").unwrap_or_else(|_| {
            let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
            format!("{} {}", process::id(), now.as_nanos())
        })
    })
}
