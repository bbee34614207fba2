//! `cargo stack audit`

use anyhow::Result;

use super::running::Running;
use crate::checkout;
use crate::cli;
use crate::services::{EVENT_STORE, READ_MODEL};
use crate::tool::Tool;

/// Runs `auditor` on the databases of the running stack, with its public checkpoint key.
pub fn run(arguments: &cli::Audit) -> Result<()> {
    let running = Running::find(&arguments.data)?;
    let url = |database| running.url("auditor", &running.secrets.auditor_db, database);
    Tool::new(checkout::binary("auditor")?)
        .args(&arguments.arguments)
        .env("EVENT_STORE_URL", url(EVENT_STORE))
        .env("READ_MODEL_URL", url(READ_MODEL))
        .env("CHECKPOINT_PUBLIC_KEY", running.folder.checkpoint_public_key())
        .run()
}
