//! `cargo stack bench`

use anyhow::Result;

use super::up;
use crate::build_services::{build_for_bench, cargo};
use crate::cli::Bench;
use crate::prerequisites::{self, Need};

pub fn run(bench: &Bench) -> Result<()> {
    let is_help = bench.arguments.iter().any(|argument| argument == "--help" || argument == "-h");
    if !is_help {
        prerequisites::check(&[Need::Build, Need::Bench])?;
        up::prepare(build_for_bench)?;
    }
    // The help does not need what takes minutes to build.
    let profile = if is_help { "dev" } else { "release" };
    cargo().args(["run", "--profile", profile, "--quiet", "--bin", "bench", "--"]).args(&bench.arguments).run()
}
