//! The services, built by cargo.

use std::env;

use anyhow::Result;

use crate::checkout;
use crate::options::Service;
use crate::tool::Tool;

pub fn build_services() -> Result<()> {
    let packages = Service::ALL.iter().flat_map(|service| ["--package", service.name()]);
    cargo().args(["build", "--release"]).args(packages).run()
}

/// The cargo that started us, or the one on PATH.
pub fn cargo() -> Tool {
    let cargo = env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    Tool::new(&cargo).in_folder(checkout::root())
}
