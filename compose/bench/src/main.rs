//! `cargo stack bench`: see `cargo stack bench --help`.

use std::process::ExitCode;

use bench::options::Options;
use clap::Parser;
use stack::progress::report;

fn main() -> ExitCode {
    match bench::run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report(format_args!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
