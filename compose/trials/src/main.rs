//! `cargo stack test --docker`: trials of the images and Compose files. Exits with 3 without a Docker engine or images.

use std::process::ExitCode;

use stack::progress::report;

const NOT_RUN: u8 = 3;

fn main() -> ExitCode {
    match trials::test() {
        Ok(None) => ExitCode::SUCCESS,
        Ok(Some(reason)) => {
            report(format_args!("not run: {reason}"));
            NOT_RUN.into()
        }
        Err(error) => {
            report(format_args!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
