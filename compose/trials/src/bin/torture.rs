//! `cargo stack torture`: see `cargo stack torture --help`.

use std::process::ExitCode;

use clap::Parser;
use stack::commands::torture::FOUND;
use stack::progress::report;
use trials::torture::{self, options::Options};

fn main() -> ExitCode {
    match torture::run(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(FOUND),
        Err(error) => {
            report(format_args!("error: {error:#}"));
            // Not as if something had been found.
            ExitCode::from(2)
        }
    }
}
