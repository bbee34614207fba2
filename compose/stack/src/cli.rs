//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::options::{Data, Options};

/// Runs the whole system natively: Postgres, NATS, Traefik and every service.
#[derive(Parser, Debug)]
#[command(name = "cargo stack", bin_name = "cargo stack", disable_help_subcommand = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand, Debug)]
pub enum Command {
    /// Build what changed, start everything, wait until it is ready and print the URLs
    Up(Up),
    /// List the processes with their addresses and readiness
    Status(Status),
    /// Print new addresses that sign in to a stack with --secure, once
    SignIn(Data),
    /// Stop everything
    Down(Data),
    /// Rebuild the read model from the event log; queries are served from the old one meanwhile
    Rebuild(Rebuild),
    /// Record in the log that an event does not count; only for an event that no version can count, which halts the totals
    Void(Void),
    /// Decide that the log is signed as it is, although its earlier checkpoints were lost; see `projector sign --help`
    Sign(Decide),
    /// State that the log was restored and has lost its last events, so that it is signed again; see `projector restored --help`
    Restored(Decide),
    /// Verify, replay or export the event log of the running stack with `auditor`
    ///
    /// `cargo stack audit verify` reads the whole log and compares it with the newest signed checkpoint. `cargo stack audit -- --help`
    /// lists the other subcommands.
    Audit(Audit),
    /// Check formatting and lints, and run the unit and component tests of the services and of the pages
    Test(Test),
    /// Run the benchmarks on a separate stack, in about 20 minutes
    #[command(disable_help_flag = true)]
    Bench(Bench),
    /// Break a separate stack in many ways while clients use it, and check that nothing is lost, doubled or wrong
    #[command(disable_help_flag = true)]
    Torture(Torture),
    /// Start everything and keep it running in the background
    #[command(hide = true)]
    Supervise(Options),
    /// Serve the built pages
    #[command(hide = true)]
    Web(Web),
}

#[derive(Args, Debug)]
pub struct Up {
    #[command(flatten)]
    pub options: Options,

    /// Return once everything is ready, and leave it running in the background
    #[arg(long)]
    pub detach: bool,
}

#[derive(Args, Debug)]
pub struct Status {
    #[command(flatten)]
    pub data: Data,

    /// Print JSON instead of a table
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub struct Rebuild {
    #[command(flatten)]
    pub data: Data,

    /// Rebuild into a temporary generation, compare it with the live read model, discard it; exit 1 on differences
    #[arg(long)]
    pub dry_run: bool,

    /// Discard an interrupted rebuild instead of resuming it
    #[arg(long)]
    pub from_start: bool,

    /// Instead of the read model, rebuild the Merkle tree over the log, for example after a restore of the event store alone
    #[arg(long, conflicts_with_all = ["dry_run", "from_start"])]
    pub tree: bool,
}

#[derive(Args, Debug)]
pub struct Void {
    #[command(flatten)]
    pub data: Data,

    /// Position of the event
    #[arg(long)]
    pub position: i64,

    /// Why it does not count, on one line; it stays in the log permanently
    #[arg(long)]
    pub reason: String,

    /// Who decides; the name stays in the log permanently
    #[arg(long, value_name = "NAME")]
    pub actor: String,
}

#[derive(Args, Debug)]
pub struct Decide {
    #[command(flatten)]
    pub data: Data,

    /// Arguments of the command of the projector: --actor, --reason, and the position
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENT")]
    pub arguments: Vec<String>,
}

#[derive(Args, Debug)]
pub struct Audit {
    #[command(flatten)]
    pub data: Data,

    /// Arguments of `auditor`
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENT")]
    pub arguments: Vec<String>,
}

#[derive(Args, Debug)]
pub struct Test {
    /// Run everything: more cases, and also the tests of the whole system, the pages in a browser, the images and Compose files, and faults
    #[arg(long)]
    pub all: bool,

    /// Run one part of --all
    #[arg(long, value_name = "PART", conflicts_with = "all")]
    pub only: Option<Part>,

    /// Run the images and Compose files alone, on the Docker engine of this machine; root starts one if none runs
    #[arg(long, conflicts_with_all = ["all", "only"])]
    pub docker: bool,

    /// Run only the Rust tests that these arguments of `cargo nextest run` select, such as the name of a test
    #[arg(last = true, conflicts_with_all = ["only", "docker"], value_name = "ARGUMENT")]
    pub arguments: Vec<String>,
}

/// A part of all tests.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Formatting, lints, dependencies, unit and component tests
    Checks,
    /// The whole system as processes
    System,
    /// The pages in a browser
    Browser,
    /// The images and Compose files
    Docker,
    /// Faults, for six minutes
    Torture,
}

#[derive(Args, Debug)]
pub struct Bench {
    /// Arguments of the benchmark
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENT")]
    pub arguments: Vec<String>,
}

#[derive(Args, Debug)]
pub struct Torture {
    /// Break a build that a patch in compose/trials/broken has made wrong; fails unless that is found
    #[arg(long, value_name = "PATCH")]
    pub broken: Option<String>,

    /// Arguments of the trial
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENT")]
    pub arguments: Vec<String>,
}

#[derive(Args, Debug)]
pub struct Web {
    /// Address to listen on
    #[arg(long, value_name = "ADDRESS")]
    pub listen: SocketAddr,

    /// Folder of the pages
    #[arg(long, value_name = "FOLDER")]
    pub root: PathBuf,
}
