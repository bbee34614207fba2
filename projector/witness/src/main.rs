//! The program of a witness.

use std::process::ExitCode;

use event_log::config;
use runtime::{healthcheck, run};
use witness::{
    cli::{Cli, Command},
    key, serve,
};

#[tokio::main]
async fn main() -> ExitCode {
    let cli: Cli = config::parse();
    let _flush_at_end = run::log_to_stdout(cli.log_format);
    run::exit_code(match cli.command {
        Command::Key(config) => key::generate(&config),
        Command::Serve(config) => serve::run(&config).await,
        Command::Healthcheck(config) => healthcheck::run(&config),
    })
}
