//! Derives the read model from the event log.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use projector::{Config, MigrateConfig, RebuildConfig};
use shared::{config, service};

#[derive(Parser)]
#[command(about = "Derives the read model (number of sales and revenue) from the event log")]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// How log lines are written.
    #[arg(long, env, global = true, value_enum, default_value = "text")]
    log_format: service::LogFormat,
}

#[derive(Subcommand)]
enum Command {
    /// Keep the read model up to date until SIGTERM.
    Serve(Config),
    /// Create or update the read model's database, set the passwords of its roles, and end.
    Migrate(MigrateConfig),
    /// Build the read model anew from the log, beside the live one, and then switch to it.
    Rebuild(RebuildConfig),
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli: Cli = config::parse();
    service::log_to_stdout(cli.log_format);
    service::exit_code(match cli.command {
        Command::Serve(config) => serve(config).await,
        Command::Migrate(config) => projector::migrate(&config).await,
        Command::Rebuild(config) => projector::rebuild(&config).await,
    })
}

async fn serve(config: Config) -> anyhow::Result<()> {
    let service = projector::service(&config)?;
    service::run(config.service, service).await
}
