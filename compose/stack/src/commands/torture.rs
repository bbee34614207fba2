//! `cargo stack torture`

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::symlink;
use std::process::exit;

use anyhow::{Result, bail, ensure};

use super::up;
use crate::build_services::{build_for_torture, cargo};
use crate::checkout;
use crate::cli::Torture;
use crate::prerequisites::{self, Need};
use crate::tool::Tool;

/// The exit code of a run that found something: no other program on the way has it, nor a build that failed.
pub const FOUND: u8 = 4;

pub fn run(torture: &Torture) -> Result<()> {
    if let Some(patch) = &torture.broken {
        return find(patch, &torture.arguments);
    }
    let starts_nothing =
        torture.arguments.iter().any(|argument| ["--help", "-h", "--list"].contains(&argument.as_str()));
    if !starts_nothing {
        prepare()?;
    }
    match tool(&torture.arguments)?.code()? {
        0 => Ok(()),
        code => exit(code),
    }
}

pub fn prepare() -> Result<()> {
    prerequisites::check(&[Need::Build])?;
    up::prepare(build_for_torture)
}

/// Fails if the run finds something.
pub fn tool<A: AsRef<OsStr>>(arguments: &[A]) -> Result<Tool> {
    // Next to the programs that it breaks.
    let profile = checkout::profile()?;
    Ok(cargo().args(["run", "--profile", &profile, "--quiet", "--bin", "torture", "--"]).args(arguments))
}

/// Applies a patch to a clone of the last commit, and runs it there until something is found.
fn find(patch: &str, arguments: &[String]) -> Result<()> {
    let folder = checkout::stack_folder().join("broken");
    let clone = folder.join("checkout");
    let file = checkout::root().join("compose/trials/broken").join(patch).with_extension("patch");
    ensure!(file.is_file(), "there is no {}", file.display());
    if !clone.is_dir() {
        fs::create_dir_all(clone.join(".stack"))?;
        symlink(checkout::stack_folder().join("tools"), clone.join(".stack/tools"))?;
        Tool::new("git").args(["init", "--quiet"]).in_folder(&clone).run()?;
    }
    let git = |arguments: &[&str]| Tool::new("git").args(arguments).in_folder(&clone);
    git(&["fetch", "--quiet"]).arg(checkout::root()).arg("HEAD").run()?;
    git(&["checkout", "--quiet", "--force", "--detach", "FETCH_HEAD"]).run()?;
    git(&["apply"]).arg(file).run()?;
    // The compiler may fail when it reuses what it has compiled of another patch.
    let broken = cargo().env("CARGO_TARGET_DIR", folder.join("target")).env("CARGO_INCREMENTAL", "0").in_folder(&clone);
    let broken = broken.args(["run", "--quiet", "--bin", "stack", "--", "torture", "--until-found"]).args(arguments);
    match broken.code()? {
        code if code == i32::from(FOUND) => Ok(()),
        0 => bail!("the run did not find that {patch} is broken"),
        code => bail!("the run failed with exit code {code}"),
    }
}
