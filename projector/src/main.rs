//! Derives the read model from the event log.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use event_log::config;
use projector::{
    Config, MigrateConfig, RebuildConfig,
    transparency::{self, key::KeyConfig},
};
use runtime::{healthcheck, run, traces};

#[derive(Parser)]
#[command(about = "Derives the read model (number of sales and revenue) from the event log")]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// How log lines are written.
    #[arg(long, env, global = true, value_enum, default_value = "text")]
    log_format: run::LogFormat,
}

#[derive(Subcommand)]
enum Command {
    /// Keep the read model up to date until SIGTERM.
    Serve(Box<Config>),
    /// Ask the one that serves in the same container whether it is ready, and end.
    Healthcheck(healthcheck::HealthcheckConfig),
    /// Create or update the read model's database, set the passwords of its roles, and end.
    Migrate(MigrateConfig),
    /// Make a pair of keys for the checkpoints of the transparency log, print the public one, and end.
    Key(KeyConfig),
    /// Build the read model anew from the log, beside the live one, and then switch to it.
    Rebuild(RebuildConfig),
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli: Cli = config::parse();
    run::log_to_stdout(cli.log_format);
    run::exit_code(match cli.command {
        Command::Serve(config) => serve(*config).await,
        Command::Healthcheck(config) => healthcheck::run(&config),
        Command::Migrate(config) => projector::migrate(&config).await,
        Command::Key(config) => transparency::key::make(&config),
        Command::Rebuild(config) => projector::rebuild(&config).await,
    })
}

async fn serve(config: Config) -> anyhow::Result<()> {
    traces::start("projector", &config.service.traces)?;
    let service = projector::service(&config)?;
    run::run(config.service, service).await
}
