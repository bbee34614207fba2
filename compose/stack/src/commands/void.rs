//! `cargo stack void`

use anyhow::Result;

use super::running::Running;
use crate::checkout;
use crate::cli;
use crate::services::EVENT_STORE;
use crate::tool::Tool;

/// Runs `command-api void` on the event store of the running stack.
pub fn run(arguments: &cli::Void) -> Result<()> {
    let running = Running::find(&arguments.data)?;
    Tool::new(checkout::binary("command-api")?)
        .arg("void")
        .arg(format!("--position={}", arguments.position))
        .arg(format!("--reason={}", arguments.reason))
        .arg(format!("--actor={}", arguments.actor))
        .env("EVENT_STORE_URL", running.url("command_api", &running.secrets.command_api_db, EVENT_STORE))
        .run()
}
