//! `cargo stack sign` and `cargo stack restored`

use anyhow::Result;

use super::running::Running;
use crate::checkout;
use crate::cli;
use crate::services::{EVENT_STORE, READ_MODEL};
use crate::tool::Tool;

/// Runs a decision of the projector on the running stack, with the key and the file of its first replica.
pub fn run(decision: &str, arguments: &cli::Decide) -> Result<()> {
    let running = Running::find(&arguments.data)?;
    let url = |database| running.url("projector", &running.secrets.projector_db, database);
    Tool::new(checkout::binary("projector")?)
        .arg(decision)
        .args(&arguments.arguments)
        .env("EVENT_STORE_URL", url(EVENT_STORE))
        .env("READ_MODEL_URL", url(READ_MODEL))
        .env("NATS_URL", running.nats_url("projector", &running.secrets.projector_nats))
        .env("CHECKPOINT_KEY_FILE", running.folder.checkpoint_key())
        .env("CHECKPOINT_LOG", running.folder.checkpoint_log("projector"))
        .run()
}
