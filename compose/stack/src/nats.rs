//! A NATS server with `JetStream` on loopback.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use nix::sys::signal::Signal;
use serde_json::json;

use crate::launch::Program;
use crate::probe::Probe;
use crate::server::Server;

pub const READY_WITHIN: Duration = Duration::from_mins(1);
/// It closes the streams' files.
const STOP_WITHIN: Duration = Duration::from_secs(10);

/// The accounts with their users and what these may do, as in the containers.
const CONFIGURATION: &str = include_str!("../../nats/nats.conf");

/// The passwords of the users `command-api`, `projector` and `subscriber`, and of one for tests, which may do everything.
#[derive(Clone, Debug)]
pub struct Passwords {
    pub command_api: String,
    pub projector: String,
    pub subscriber: String,
    pub admin: Option<String>,
}

#[derive(Clone, Debug)]
pub struct Nats {
    pub binary: PathBuf,
    /// Contains the configuration and the streams.
    pub folder: PathBuf,
    pub log: PathBuf,
    pub address: SocketAddr,
    pub monitoring: SocketAddr,
    pub passwords: Passwords,
}

impl Nats {
    pub fn url(&self, user: &str) -> String {
        let Passwords { command_api, projector, subscriber, admin } = &self.passwords;
        let password = match user {
            "command-api" => command_api,
            "projector" => projector,
            "subscriber" => subscriber,
            _ => admin.as_deref().unwrap_or_default(),
        };
        format!("nats://{user}:{password}@{}", self.address)
    }

    /// The streams.
    pub fn store(&self) -> PathBuf {
        self.folder.join("jetstream")
    }

    /// Writes the configuration, and prepares the store.
    pub fn server(&self) -> Result<Server> {
        fs::create_dir_all(&self.folder)?;
        self.remove_half_made_streams()?;
        let configuration = self.folder.join("nats.conf");
        // It contains passwords.
        OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(&configuration)?
            .write_all(self.configuration().as_bytes())?;
        Ok(Server {
            program: Program {
                name: "nats".to_owned(),
                path: self.binary.clone(),
                arguments: vec!["--config".into(), configuration.into()],
                environment: Vec::new(),
                account: None,
                log: self.log.clone(),
                stop_signal: Signal::SIGTERM,
                stop_within: STOP_WITHIN,
            },
            address: self.address,
            probe: Probe::Http { address: self.monitoring, path: "/healthz".to_owned() },
            ready_within: READY_WITHIN,
        })
    }

    /// Removes what a NATS that was killed while creating a stream has left of it: the next one reads nothing of it, but is not ready as
    /// long as it is there. The services create the stream again.
    fn remove_half_made_streams(&self) -> io::Result<()> {
        for account in subfolders(&self.store())? {
            for stream in subfolders(&account.join("streams"))? {
                let is_written = |file| fs::metadata(stream.join(file)).is_ok_and(|metadata| metadata.len() > 0);
                if !["meta.inf", "meta.sum"].into_iter().all(is_written) {
                    fs::remove_dir_all(stream)?;
                }
            }
        }
        Ok(())
    }

    fn configuration(&self) -> String {
        let Passwords { command_api, projector, subscriber, admin } = &self.passwords;
        let (head, accounts) = CONFIGURATION.split_once("\naccounts {").expect("the configuration has accounts");
        let jetstream =
            head.lines().find(|line| line.starts_with("jetstream:")).expect("the configuration has streams");
        // Quoted as JSON, which NATS reads as well.
        let jetstream = jetstream.replace("\"/data\"", &json!(self.folder).to_string());
        let accounts = match admin {
            // In the first account, which has the streams.
            Some(password) => {
                accounts.replacen("users: [", &format!("users: [{{ user: \"admin\", password: \"{password}\" }}"), 1)
            }
            None => accounts.to_owned(),
        };
        format!(
            "COMMAND_API: \"{command_api}\"\nPROJECTOR: \"{projector}\"\nSUBSCRIBER: \"{subscriber}\"\n\
             server_name: sales\nlisten: \"{}\"\nhttp: \"{}\"\n{jetstream}\naccounts {{{accounts}",
            self.address, self.monitoring,
        )
    }
}

/// None if the folder does not exist.
fn subfolders(folder: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(folder) {
        Ok(entries) => entries.map(|entry| Ok(entry?.path())).collect(),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}
