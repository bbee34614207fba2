//! The Rust tests, run by nextest. They share one Postgres.

use std::env;
use std::fs;

use anyhow::Result;

use crate::checkout;
use crate::identity::ProcessId;
use crate::interrupt::Interrupt;
use crate::postgres::Cluster;
use crate::process::Process;
use crate::progress::{Progress, print};
use crate::provision::{self, remove_folder};
use crate::tool::Tool;

/// How much a run tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort {
    Quick,
    Thorough,
}

/// How many cases the tests try in a thorough run, unless the environment has other numbers. Their own defaults are lower.
const THOROUGH: [(&str, &str); 7] = [
    ("PROPTEST_CASES", "20000"),
    ("TEST_CONCURRENT_PURCHASES", "20000"),
    ("TEST_FUZZ_REQUESTS", "20000"),
    ("TEST_RANDOM_HISTORIES", "16"),
    ("TEST_REBUILD_KILLS", "12"),
    ("TEST_TAMPERINGS", "1200"),
    ("TEST_WITNESS_KILLS", "200"),
];
/// What proptest draws its random cases from.
const SEED: &str = "PROPTEST_RNG_SEED";

impl Effort {
    fn nextest_profile(self) -> &'static str {
        match self {
            Self::Quick => "default",
            Self::Thorough => "all",
        }
    }
}

/// Unit and component tests.
pub fn tests(effort: Effort) -> Result<()> {
    nextest(effort, &["--profile", effort.nextest_profile()])
}

/// The tests of the whole system.
pub fn system_tests() -> Result<()> {
    nextest(Effort::Thorough, &["--profile", "system"])
}

/// Those that a person names, whatever part they belong to.
pub fn selected(effort: Effort, arguments: &[String]) -> Result<()> {
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    nextest(effort, &[&["--profile", effort.nextest_profile(), "--ignore-default-filter"], &arguments[..]].concat())
}

fn nextest(effort: Effort, arguments: &[&str]) -> Result<()> {
    let program = provision::checkers(Progress::Shown)?.join("bin/cargo-nextest");
    let postgres = SharedPostgres::start()?;
    let seed = env::var(SEED).unwrap_or_else(|_| rand::random::<u64>().to_string());
    print(format_args!("  {SEED}={seed}"));
    let mut nextest = Tool::new(program)
        .args(["nextest", "run"])
        .args(arguments)
        .in_folder(checkout::root())
        .env("TEST_POSTGRES_ADDRESS", postgres.cluster.address.to_string())
        .env("TEST_POSTGRES_PASSWORD", &postgres.cluster.admin_password)
        .env(SEED, seed);
    if effort == Effort::Thorough {
        for (name, count) in THOROUGH {
            nextest = nextest.env(name, env::var(name).unwrap_or_else(|_| count.to_owned()));
        }
    }
    nextest.run()
}

/// A Postgres in which each test creates databases of its own.
struct SharedPostgres {
    cluster: Cluster,
    process: Process,
}

impl SharedPostgres {
    fn start() -> Result<Self> {
        // Tests remove the folders of processes that have ended.
        let folder = checkout::binaries()?.join("stack-tests").join(ProcessId::own()?.to_string());
        fs::create_dir_all(&folder)?;
        let cluster = Cluster::for_tests(provision::tools(Progress::Silent)?.postgres, &folder)?;
        let process = cluster.server()?.start_and_wait(&Interrupt::default())?;
        Ok(Self { cluster, process })
    }
}

impl Drop for SharedPostgres {
    fn drop(&mut self) {
        // A folder that stays is removed by a later test.
        let _ = self.process.stop();
        let _ = self.cluster.data.parent().map(remove_folder);
    }
}
