//! Answers queries.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use event_log::config;
use query_api::{
    Config,
    purchases::new_key::{self, KeyConfig},
};
use runtime::{healthcheck, run, traces};

#[derive(Parser)]
#[command(about = "Answers how many licences were sold and for how much, and shows the event log")]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// How log lines are written.
    #[arg(long, env, global = true, value_enum, default_value = "text")]
    log_format: run::LogFormat,
}

#[derive(Subcommand)]
enum Command {
    /// Answer requests until SIGTERM.
    Serve(Box<Config>),
    /// Make the key that licence keys are signed with, print its public part, and end.
    Key(KeyConfig),
    /// Ask the one that serves in the same container whether it is ready, and end.
    Healthcheck(healthcheck::HealthcheckConfig),
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli: Cli = config::parse();
    run::log_to_stdout(cli.log_format);
    run::exit_code(match cli.command {
        Command::Serve(config) => serve(*config).await,
        Command::Key(config) => new_key::make(&config),
        Command::Healthcheck(config) => healthcheck::run(&config),
    })
}

async fn serve(config: Config) -> anyhow::Result<()> {
    traces::start("query-api", &config.service.traces)?;
    let service = query_api::service(&config)?;
    run::run(config.service, service).await
}
