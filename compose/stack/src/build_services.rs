//! The services, built by cargo.

use std::env;

use anyhow::Result;

use crate::checkout;
use crate::tool::Tool;

/// In the profile of the launcher, which then finds them next to itself.
pub fn build_services() -> Result<()> {
    // All programs of the workspace: for a choice of packages cargo would choose other features, and build again.
    cargo().args(["build", "--bins", "--profile"]).arg(checkout::profile()?).run()
}

/// What the services are compared with.
pub fn build_baselines() -> Result<()> {
    cargo().args(["build", "--release", "--workspace", "--example", "baselines"]).run()
}

/// The cargo that started us, or the one on PATH.
pub fn cargo() -> Tool {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    Tool::new(cargo).in_folder(checkout::root())
}
