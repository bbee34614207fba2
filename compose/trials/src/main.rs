//! `cargo stack test --docker`: trials of the images and Compose files. Exits with 3 without a Docker engine or images.

use std::process::ExitCode;

const NOT_RUN: u8 = 3;

fn main() -> ExitCode {
    match trials::test() {
        Ok(None) => ExitCode::SUCCESS,
        Ok(Some(reason)) => {
            eprintln!("not run: {reason}");
            NOT_RUN.into()
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
