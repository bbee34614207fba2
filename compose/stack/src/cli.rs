//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

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
    /// Measure everything on a stack and baselines of its own, in about 20 minutes; `cargo stack bench --help`
    #[command(disable_help_flag = true)]
    Bench(Bench),
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
pub struct Bench {
    /// Handed to the bench
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
