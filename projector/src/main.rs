//! Derives the read model from the event log.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use event_log::config;
use projector::{
    Config, MigrateConfig, RebuildConfig,
    transparency::{
        decision::{self, RestoredConfig, SignConfig},
        key::{self, KeyConfig},
    },
};
use runtime::{healthcheck, run};

#[derive(Parser)]
#[command(about = "Derives the read model (number of sales and revenue) from the event log")]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Format of log lines.
    #[arg(long, env, global = true, value_enum, default_value = "text")]
    log_format: run::LogFormat,
}

#[derive(Subcommand)]
enum Command {
    /// Keep the read model up to date until SIGTERM.
    Serve(Box<Config>),
    /// Container health check: exit 0 if the service in this container is up.
    Healthcheck(healthcheck::HealthcheckConfig),
    /// Create or update the read model's database and set the passwords of its roles.
    Migrate(MigrateConfig),
    /// Generate a key pair for signed checkpoints of the log, and print the public key.
    Key(KeyConfig),
    /// Decide that the log is signed as it is, although its earlier checkpoints were lost. For an operator, when the projector reports that it
    /// cannot compare the log. The decision is signed, published and kept.
    Sign(SignConfig),
    /// State that the log was restored from a backup and has lost its last events, so that it is signed again. The statement is signed,
    /// published and kept; it names the highest checkpoint that is given up.
    Restored(RestoredConfig),
    /// Rebuild the read model from the log, alongside the live one, and then switch to it.
    Rebuild(RebuildConfig),
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli: Cli = config::parse();
    let _flush_at_end = run::log_to_stdout(cli.log_format);
    run::exit_code(match cli.command {
        Command::Serve(config) => run::run("projector", &config.service, || projector::service(&config)).await,
        Command::Healthcheck(config) => healthcheck::run(&config),
        Command::Migrate(config) => projector::migrate(&config).await,
        Command::Key(config) => key::generate(&config),
        Command::Sign(config) => decision::sign(&config).await,
        Command::Restored(config) => decision::restored(&config).await,
        Command::Rebuild(config) => projector::rebuild(&config).await,
    })
}
