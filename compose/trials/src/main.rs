//! `cargo stack test --docker`: tries the images and the Compose files. Exits with 3 when there is no Docker engine, or no images.

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
