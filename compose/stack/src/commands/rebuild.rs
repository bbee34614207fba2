//! `cargo stack rebuild`

use anyhow::{Context, Result};

use crate::checkout;
use crate::data_folder::DataFolder;
use crate::options::Data;
use crate::secrets::Secrets;
use crate::services::{EVENT_STORE, READ_MODEL};
use crate::state::State;
use crate::tool::Tool;

/// Runs `projector rebuild` on the databases of the running stack.
pub fn run(data: &Data) -> Result<()> {
    let not_running = || format!("no stack is running on {}; `cargo stack up` starts one", data.folder.display());
    let folder = DataFolder::existing(&data.folder).with_context(not_running)?;
    let state = State::read(&folder.state())?.with_context(not_running)?;
    let postgres = state.processes.iter().find(|entry| entry.name == "postgres").with_context(not_running)?.address;
    let secrets = Secrets::load_or_make(&folder.secrets())?;
    let url = |database| format!("postgres://projector:{}@{postgres}/{database}", secrets.projector_db);
    Tool::new(checkout::binary("projector")?)
        .arg("rebuild")
        .env("EVENT_STORE_URL", url(EVENT_STORE))
        .env("READ_MODEL_URL", url(READ_MODEL))
        .run()
}
