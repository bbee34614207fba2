//! Builds the services with cargo.

use std::env;

use anyhow::Result;

use crate::checkout;
use crate::tool::Tool;

/// All that a stack runs: the launcher serves the pages, and `cargo stack audit` runs the auditor.
const BINARIES: [&str; 5] = ["stack", "command-api", "projector", "query-api", "auditor"];

/// In the profile of the launcher, which then finds them next to itself.
pub fn build_services() -> Result<()> {
    build(&["--profile", &checkout::profile()?])
}

/// The services as they ship, and the programs that the benchmark compares them with.
pub fn build_for_bench() -> Result<()> {
    build(&["--release", "--features", "runtime/jemalloc,auditor/jemalloc", "--example", "baselines"])
}

/// The services with the points at which `torture` lets them die.
pub fn build_for_torture() -> Result<()> {
    build(&["--profile", &checkout::profile()?, "--features", "runtime/fail-points"])
}

/// The same programs as for the tests, if the figures mean nothing.
pub fn build_for_quick_bench() -> Result<()> {
    build(&["--example", "baselines"])
}

fn build(arguments: &[&str]) -> Result<()> {
    // By binary and not by package: cargo then selects the features of dependencies for the whole workspace, and builds each once.
    let binaries = BINARIES.into_iter().flat_map(|name| ["--bin", name]);
    cargo().arg("build").args(binaries).args(arguments).run()
}

/// The cargo that runs this program, or the one on PATH.
pub fn cargo() -> Tool {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    Tool::new(cargo).in_folder(checkout::root())
}
