//! Answers queries.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use query_api::Config;
use shared::{config, service};

#[derive(Parser)]
#[command(about = "Answers how many licences were sold and for how much, and shows the event log")]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// How log lines are written.
    #[arg(long, env, global = true, value_enum, default_value = "text")]
    log_format: service::LogFormat,
}

#[derive(Subcommand)]
enum Command {
    /// Answer requests until SIGTERM.
    Serve(Config),
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli: Cli = config::parse();
    service::log_to_stdout(cli.log_format);
    let Command::Serve(config) = cli.command;
    service::exit_code(serve(config).await)
}

async fn serve(config: Config) -> anyhow::Result<()> {
    let service = query_api::service(&config)?;
    service::run(config.service, service).await
}
