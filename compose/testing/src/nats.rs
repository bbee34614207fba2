//! NATS for tests: one server per test, because the names of the streams are fixed and a server starts in milliseconds.

use crate::{Interrupt, folder, tools};
use stack::nats::{self, Passwords};
use stack::ports;
use stack::process::Process;
use stack::provision::remove_folder;
use stack::secrets;

/// The user of the test itself, who has all rights.
const ADMIN: &str = "admin";

#[derive(Debug)]
pub struct Nats {
    configuration: nats::Nats,
    process: Option<Process>,
}

impl Nats {
    pub fn start() -> Self {
        let folder = folder::new("nats");
        let configuration = nats::Nats {
            binary: tools().nats_server.clone(),
            log: folder.join("nats.log"),
            folder,
            address: ports::free().expect("a port is free"),
            monitoring: ports::free().expect("a port is free"),
            passwords: Passwords {
                command_api: secrets::password(),
                projector: secrets::password(),
                subscriber: secrets::password(),
                admin: Some(secrets::password()),
            },
        };
        let mut nats = Self { configuration, process: None };
        nats.start_again();
        nats
    }

    /// For `command-api`, `projector` or `subscriber`, with the rights that they have in production.
    pub fn url(&self, user: &str) -> String {
        self.configuration.url(user)
    }

    pub fn admin_url(&self) -> String {
        self.configuration.url(ADMIN)
    }

    pub fn address(&self) -> std::net::SocketAddr {
        self.configuration.address
    }

    /// What the server reports about itself, such as `/jsz`.
    pub fn monitoring_url(&self, path: &str) -> String {
        format!("http://{}{path}", self.configuration.monitoring)
    }

    /// Kills the server.
    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().expect("NATS can be killed");
        }
    }

    /// On the same port, with the same store.
    pub fn start_again(&mut self) {
        let server = self.configuration.server().expect("the configuration can be written");
        self.process = Some(server.start_and_wait(&Interrupt::default()).expect("NATS starts"));
    }

    /// Removes all streams. Requires a stopped server.
    pub fn wipe(&mut self) {
        assert!(self.process.is_none(), "stop NATS before wiping its store");
        remove_folder(&self.configuration.store()).expect("the store can be removed");
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        self.stop();
    }
}
