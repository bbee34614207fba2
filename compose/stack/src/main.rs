//! `cargo stack`: see `cargo stack --help`.

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use stack::cli::{Cli, Command};
use stack::commands::{audit, bench, decide, down, rebuild, sign_in, status, supervise, test, torture, up, void};
use stack::progress::report;
use stack::web;

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report(format_args!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<()> {
    match command {
        Command::Up(arguments) => up::run(&arguments),
        Command::Status(arguments) => status::run(&arguments),
        Command::SignIn(arguments) => sign_in::run(&arguments),
        Command::Down(arguments) => down::run(&arguments),
        Command::Rebuild(arguments) => rebuild::run(&arguments),
        Command::Void(arguments) => void::run(&arguments),
        Command::Sign(arguments) => decide::run("sign", &arguments),
        Command::Restored(arguments) => decide::run("restored", &arguments),
        Command::Audit(arguments) => audit::run(&arguments),
        Command::Test(arguments) => test::run(&arguments),
        Command::Bench(arguments) => bench::run(&arguments),
        Command::Torture(arguments) => torture::run(&arguments),
        Command::Supervise(options) => {
            // Closing the terminal must not end it.
            nix::unistd::setsid()?;
            supervise::run(&options, supervise::Output::Log)
        }
        Command::Web(arguments) => {
            let runtime = tokio::runtime::Runtime::new()?;
            Ok(runtime.block_on(web::serve(arguments.listen, &arguments.root))?)
        }
    }
}
