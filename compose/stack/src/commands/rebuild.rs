//! `cargo stack rebuild`

use anyhow::Result;

use super::running::Running;
use crate::checkout;
use crate::cli;
use crate::services::{EVENT_STORE, READ_MODEL};
use crate::tool::Tool;

/// Runs `projector rebuild` on the databases of the running stack.
pub fn run(arguments: &cli::Rebuild) -> Result<()> {
    let running = Running::find(&arguments.data)?;
    let url = |database| running.url("projector", &running.secrets.projector_db, database);
    let options =
        [(arguments.dry_run, "--dry-run"), (arguments.from_start, "--from-start"), (arguments.tree, "--tree")];
    Tool::new(checkout::binary("projector")?)
        .arg("rebuild")
        .args(options.into_iter().filter_map(|(given, option)| given.then_some(option)))
        .env("EVENT_STORE_URL", url(EVENT_STORE))
        .env("READ_MODEL_URL", url(READ_MODEL))
        .run()
}
