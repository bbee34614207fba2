//! `cargo stack bench`

use anyhow::Result;

use super::up;
use crate::build_services::{build_baselines, cargo};
use crate::cli::Bench;
use crate::prerequisites::{self, Need};
use crate::progress::Progress;

pub fn run(bench: &Bench) -> Result<()> {
    let is_help = bench.arguments.iter().any(|argument| argument == "--help" || argument == "-h");
    if !is_help {
        prerequisites::check(&[Need::Build, Need::Bench])?;
        up::prepare()?;
        Progress::Shown.step("baselines", build_baselines)?;
    }
    cargo().args(["run", "--release", "--quiet", "--bin", "bench", "--"]).args(&bench.arguments).run()
}
