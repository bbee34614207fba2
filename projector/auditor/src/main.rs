//! The auditor's command line.

mod cli;
mod commands;

use std::process::ExitCode;

use auditor::outcome::Outcome;
use cli::{Cli, Command};
use event_log::{config, output::report};

#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

#[tokio::main]
async fn main() -> ExitCode {
    let cli: Cli = config::parse();
    let outcome = match cli.command {
        Command::Verify(arguments) => commands::verify(arguments).await,
        Command::Replay(arguments) => commands::replay(arguments).await,
        Command::Export(arguments) => commands::export(arguments).await,
        Command::Checkpoint(arguments) => commands::checkpoint(arguments).await,
        Command::Proof(arguments) => commands::proof(&arguments),
    };
    match outcome {
        Ok(outcome) => outcome.exit_code().into(),
        Err(error) => {
            report(format_args!("error: {error:#}"));
            Outcome::Unknown.exit_code().into()
        }
    }
}
