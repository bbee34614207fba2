//! `cargo stack bench`: see `cargo stack bench --help`.

use std::process::ExitCode;

use bench::settings::{Arguments, Settings};
use clap::Parser;
use stack::interrupt::Interrupt;
use stack::open_files;

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    open_files::allow(bench::OPEN_FILES)?;
    bench::run(&arguments.folder, Settings::from(arguments), &Interrupt::listen()?)
}
