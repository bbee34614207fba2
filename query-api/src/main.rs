//! The query API: answers queries.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use event_log::config;
use query_api::{
    Config,
    purchases::new_key::{self, KeyConfig},
    session::link::{self, LinkConfig},
};
use runtime::{healthcheck, run};

#[derive(Parser)]
#[command(about = "Serves sales totals, history, receipts, licence keys and the event log")]
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
    Serve(Box<Config>),
    /// Create the key that signs licence keys, and print its public key.
    Key(KeyConfig),
    /// Print a one-time code that signs in for ten minutes, as /sales.html#token=CODE.
    Link(LinkConfig),
    /// Container health check: exit 0 if the service in this container is up.
    Healthcheck(healthcheck::HealthcheckConfig),
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli: Cli = config::parse();
    let _flush_at_end = run::log_to_stdout(cli.log_format);
    run::exit_code(match cli.command {
        Command::Serve(config) => run::run("query-api", &config.service, || query_api::service(&config)).await,
        Command::Key(config) => new_key::make(&config),
        Command::Link(config) => link::make(&config).await,
        Command::Healthcheck(config) => healthcheck::run(&config),
    })
}
