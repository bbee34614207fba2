//! `cargo stack bench`

use anyhow::Result;

use super::up;
use crate::build_services::{build_for_bench, build_for_quick_bench, cargo};
use crate::cli::Bench;
use crate::prerequisites::{self, Need};

pub fn run(bench: &Bench) -> Result<()> {
    let has = |option: &str| bench.arguments.iter().any(|argument| argument == option);
    let is_help = has("--help") || has("-h");
    let measures = !is_help && !has("--quick");
    if !is_help {
        prerequisites::check(&[Need::Build, Need::Bench])?;
        up::prepare(if measures { build_for_bench } else { build_for_quick_bench })?;
    }
    // Next to the programs that it measures.
    let profile = if measures { "release" } else { "dev" };
    cargo().args(["run", "--profile", profile, "--quiet", "--bin", "bench", "--"]).args(&bench.arguments).run()
}
