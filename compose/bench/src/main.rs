//! `cargo stack bench`: see `cargo stack bench --help`.

use std::process::ExitCode;

use bench::options::Options;
use clap::Parser;

fn main() -> ExitCode {
    match bench::run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
