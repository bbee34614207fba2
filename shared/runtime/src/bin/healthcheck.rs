//! The container health check for the image of the pages, whose server has none. It checks `LISTEN_ADDRESS`.

use std::env;

use anyhow::Context;

/// Included as source: the library's allocator would be a third of this program.
#[path = "../healthcheck.rs"]
mod healthcheck;

use healthcheck::HealthcheckConfig;

fn main() -> anyhow::Result<()> {
    // Without clap, which would be two thirds of this program.
    let address = env::var("LISTEN_ADDRESS").context("LISTEN_ADDRESS is not set")?;
    let listen_address = address.parse().with_context(|| format!("LISTEN_ADDRESS {address}"))?;
    healthcheck::run(&HealthcheckConfig { listen_address })
}
