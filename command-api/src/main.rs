//! Takes commands and appends their events to the log.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use command_api::{Config, MigrateConfig, token::TokenConfig, void::VoidConfig};
use event_log::config;
use runtime::{healthcheck, run};

#[derive(Parser)]
#[command(about = "Takes purchases and resets, appends their events to the log and publishes them on NATS JetStream")]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Format of log lines.
    #[arg(long, env, global = true, value_enum, default_value = "text")]
    log_format: run::LogFormat,
}

#[derive(Subcommand)]
enum Command {
    /// Serve requests until SIGTERM.
    Serve(Config),
    /// Container health check: exit 0 if the service in this container is up.
    Healthcheck(healthcheck::HealthcheckConfig),
    /// Create or update the event store and set the passwords of its roles.
    Migrate(MigrateConfig),
    /// Create an access token: print it once, and add its hash to the file of tokens.
    Token(TokenConfig),
    /// Record in the log that an event does not count. Only for an event that no version can count, which halts the projection.
    Void(VoidConfig),
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli: Cli = config::parse();
    let _flush_at_end = run::log_to_stdout(cli.log_format);
    run::exit_code(match cli.command {
        Command::Serve(config) => run::run("command-api", &config.service, || command_api::service(&config)).await,
        Command::Healthcheck(config) => healthcheck::run(&config),
        Command::Migrate(config) => command_api::migrate(&config).await,
        Command::Token(config) => command_api::token::make(&config),
        Command::Void(config) => command_api::void::void(&config).await,
    })
}
