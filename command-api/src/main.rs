//! Takes commands and appends their events to the log.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use command_api::{Config, MigrateConfig};
use shared::{config, service};

#[derive(Parser)]
#[command(about = "Takes purchases and resets, appends their events to the log and publishes them on NATS JetStream")]
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
    /// Create or update the event store, set the passwords of its roles, and end.
    Migrate(MigrateConfig),
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli: Cli = config::parse();
    service::log_to_stdout(cli.log_format);
    service::exit_code(match cli.command {
        Command::Serve(config) => serve(config).await,
        Command::Migrate(config) => command_api::migrate(&config).await,
    })
}

async fn serve(config: Config) -> anyhow::Result<()> {
    let service = command_api::service(&config)?;
    service::run(config.service, service).await
}
