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
    Rebuild(Data),
    /// Run every test: Rust, the whole system, the pages, the pages in a browser
    Test(Test),
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
pub struct Test {
    /// Handed to `cargo test`, such as the name of a test
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
