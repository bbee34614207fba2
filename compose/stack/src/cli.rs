//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::bench::settings;
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
    /// Say which processes run, where, and whether they are ready
    Status(Status),
    /// Stop everything
    Down(Data),
    /// Build the read model anew from the event log, while the old one goes on serving
    Rebuild(Rebuild),
    /// Verify, replay or export the log of the running stack: runs `auditor`, connected to it
    ///
    /// `cargo stack audit verify` reads the whole log and compares it with the newest checkpoint; `cargo stack audit -- --help` says
    /// what else there is.
    Audit(Audit),
    /// Run every test: Rust, the whole system, the pages, the pages in a browser
    Test(Test),
    /// Measure everything on a stack and baselines of its own, in about 20 minutes
    ///
    /// Drives purchases and reads with wrk, beside handlers on the same HTTP stack that store nothing or one row per
    /// request, and counts the log after every load: what was acknowledged is stored and projected, or the run fails.
    /// Measures the time from a purchase to the totals, the rebuild, the start, memory, CPU time and disk space as well,
    /// and the same in a log of 10 million events. Shows a table with ratios and targets, and saves it as JSON and
    /// Markdown. It needs the machine for itself, and about 10 GB of disk meanwhile.
    Bench(settings::Arguments),
    /// Start everything and keep it running, without a terminal
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

    /// Leave it running in the background once it is ready
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

    /// Build and compare only, changing nothing; fails when the live read model is another one
    #[arg(long)]
    pub dry_run: bool,

    /// Discard what an interrupted rebuild left behind, instead of going on from there
    #[arg(long)]
    pub from_start: bool,
}

#[derive(Args, Debug)]
pub struct Audit {
    #[command(flatten)]
    pub data: Data,

    /// Handed to `auditor`
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENT")]
    pub arguments: Vec<String>,
}

#[derive(Args, Debug)]
pub struct Test {
    /// Try the images and the Compose files alone, on the Docker engine of this machine, or on one that is started for it (by root)
    #[arg(long, conflicts_with = "arguments")]
    pub docker: bool,

    /// Handed to `cargo test`, such as the name of a test; the images and the Compose files are then left out
    #[arg(last = true, value_name = "ARGUMENT")]
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
