//! The health check by itself, for the image of the pages, whose server has none. It asks where `LISTEN_ADDRESS` says.

use std::env;

use anyhow::Context;

/// From its source and not from the library, whose allocator would be a third of this program.
#[path = "../healthcheck.rs"]
mod healthcheck;

use healthcheck::HealthcheckConfig;

fn main() -> anyhow::Result<()> {
    // Not through clap, which would be two thirds of this program.
    let address = env::var("LISTEN_ADDRESS").context("LISTEN_ADDRESS says where the server listens")?;
    let listen_address = address.parse().with_context(|| format!("LISTEN_ADDRESS {address}"))?;
    healthcheck::run(&HealthcheckConfig { listen_address })
}
