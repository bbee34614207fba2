//! The running stack, for commands that access its databases.

use std::net::SocketAddr;

use anyhow::{Context, Result};

use crate::data_folder::DataFolder;
use crate::options::Data;
use crate::secrets::Secrets;
use crate::state::{State, Urls};

pub struct Running {
    pub folder: DataFolder,
    pub secrets: Secrets,
    pub urls: Urls,
    /// Access tokens are required.
    pub secure: bool,
    postgres: SocketAddr,
    nats: SocketAddr,
}

impl Running {
    pub fn find(data: &Data) -> Result<Self> {
        let not_running = || format!("no stack is running on {}; `cargo stack up` starts one", data.folder.display());
        let folder = DataFolder::existing(&data.folder).with_context(not_running)?;
        let state = State::read(&folder.state())?.with_context(not_running)?;
        let address = |name| state.processes.iter().find(|entry| entry.name == name).map(|entry| entry.address);
        let postgres = address("postgres").with_context(not_running)?;
        let nats = address("nats").with_context(not_running)?;
        let secrets = Secrets::load_or_create(&folder.secrets())?;
        Ok(Self { folder, secrets, urls: state.urls, secure: state.secure, postgres, nats })
    }

    pub fn url(&self, role: &str, password: &str, database: &str) -> String {
        format!("postgres://{role}:{password}@{}/{database}", self.postgres)
    }

    pub fn nats_url(&self, user: &str, password: &str) -> String {
        format!("nats://{user}:{password}@{}", self.nats)
    }
}
