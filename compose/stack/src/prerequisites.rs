//! Programs that the machine has to have. They are looked for before anything else is done.

use std::env;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};

use crate::version::Version;

/// `.ci/run` reads this list as well.
const PACKAGES: &str = include_str!("../provision/packages.txt");
/// The oldest version that Vite runs on.
const NODE: Version = Version::new(20, 19);

/// What needs a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    Build,
    Bench,
    System,
    Browser,
    Docker,
}

#[derive(Debug)]
pub struct Prerequisite {
    need: Need,
    /// One of these is enough.
    names: Vec<&'static str>,
    /// In Debian and Ubuntu.
    pub packages: Vec<&'static str>,
    purpose: &'static str,
}

/// Names everything that is missing at once, each with the command that installs it.
pub fn check(needs: &[Need]) -> Result<()> {
    let mut report = String::new();
    for prerequisite in missing(needs) {
        let Prerequisite { names, packages, purpose, .. } = prerequisite;
        write!(report, "\n  {}: {purpose}\n      apt-get install {}", names[0], packages.join(" "))?;
    }
    ensure!(report.is_empty(), "this machine lacks:{report}");
    Ok(())
}

pub fn missing(needs: &[Need]) -> Vec<Prerequisite> {
    all().filter(|prerequisite| needs.contains(&prerequisite.need) && !prerequisite.is_met()).collect()
}

fn all() -> impl Iterator<Item = Prerequisite> {
    PACKAGES.lines().filter(|line| !line.starts_with('#')).map(|line| parse(line).expect("the list is complete"))
}

fn parse(line: &'static str) -> Option<Prerequisite> {
    let (need, rest) = line.split_once(' ')?;
    let (names, rest) = rest.trim_start().split_once(' ')?;
    let (packages, purpose) = rest.trim_start().split_once(' ')?;
    let need = match need {
        "build" => Need::Build,
        "bench" => Need::Bench,
        "system" => Need::System,
        "browser" => Need::Browser,
        "docker" => Need::Docker,
        _ => return None,
    };
    let list = |text: &'static str| text.split(',').collect();
    Some(Prerequisite { need, names: list(names), packages: list(packages), purpose: purpose.trim_start() })
}

impl Prerequisite {
    fn is_met(&self) -> bool {
        match self.names[0] {
            "node" => Version::of(Path::new("node"), "--version").is_some_and(|found| found >= NODE),
            "pip3" => succeeds("python3", &["-m", "pip", "--version"]),
            // The one of BusyBox lacks the option.
            "setpriv" => succeeds("setpriv", &["--pdeathsig", "TERM", "--", "true"]),
            "chromium" => chromium().is_some(),
            _ => self.on_path().is_some(),
        }
    }

    fn on_path(&self) -> Option<PathBuf> {
        let path = env::var_os("PATH")?;
        let programs = env::split_paths(&path).flat_map(|folder| self.names.iter().map(move |name| folder.join(name)));
        programs.into_iter().find(|program| program.is_file())
    }
}

fn succeeds(program: &str, arguments: &[&str]) -> bool {
    Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success())
}

/// The browser that `CHROMIUM` names, or one on PATH.
pub fn chromium() -> Option<PathBuf> {
    if let Some(given) = env::var_os("CHROMIUM") {
        return Some(given.into());
    }
    all().find(|prerequisite| prerequisite.need == Need::Browser)?.on_path()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_program_has_a_package_and_a_purpose() {
        let all: Vec<_> = all().collect();
        for need in [Need::Build, Need::Bench, Need::System, Need::Browser, Need::Docker] {
            assert!(all.iter().any(|prerequisite| prerequisite.need == need), "{need:?}");
        }
        let cc = all.iter().find(|prerequisite| prerequisite.names == ["cc"]).unwrap();
        assert_eq!(cc.packages, ["gcc", "libc6-dev"]);
        assert_eq!(cc.purpose, "compiles C code and links programs");
    }
}
