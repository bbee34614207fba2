//! A NATS server with `JetStream` on loopback, and the permissions of its users.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::launch::Program;
use crate::probe::Probe;
use crate::server::Server;

pub const READY_WITHIN: Duration = Duration::from_mins(1);
/// It closes the streams' files.
const STOP_WITHIN: Duration = Duration::from_secs(10);

/// With the least privileges that it needs.
#[derive(Clone, Debug)]
pub struct User {
    pub name: &'static str,
    pub password: String,
    pub publish: &'static [&'static str],
    pub subscribe: &'static [&'static str],
}

impl User {
    /// The relay publishes events, and creates the stream if it is missing.
    pub fn command_api(password: String) -> Self {
        Self { name: "command-api", password, publish: &["sales.events.>", "$JS.API.>"], subscribe: &["_INBOX.>"] }
    }

    /// The projector reads events and publishes checkpoints. It can neither publish events nor change or delete their stream.
    pub fn projector(password: String) -> Self {
        Self {
            name: "projector",
            password,
            publish: &[
                "$JS.API.INFO",
                "$JS.API.STREAM.INFO.SALES_EVENTS",
                "$JS.API.STREAM.MSG.GET.SALES_EVENTS",
                "$JS.API.CONSUMER.>",
                "$JS.API.STREAM.CREATE.SALES_CHECKPOINTS",
                "$JS.API.STREAM.INFO.SALES_CHECKPOINTS",
                "$JS.API.STREAM.MSG.GET.SALES_CHECKPOINTS",
                "sales.checkpoints",
                "$JS.ACK.>",
                "$JS.FC.>",
            ],
            subscribe: &["_INBOX.>"],
        }
    }

    /// Another system: it can create a consumer and acknowledge, but can change neither the stream nor other consumers.
    pub fn subscriber(password: String) -> Self {
        Self {
            name: "subscriber",
            password,
            publish: &[
                "$JS.API.INFO",
                "$JS.API.STREAM.INFO.SALES_EVENTS",
                "$JS.API.CONSUMER.INFO.SALES_EVENTS.*",
                "$JS.API.CONSUMER.CREATE.SALES_EVENTS.>",
                "$JS.API.CONSUMER.MSG.NEXT.SALES_EVENTS.*",
                "$JS.ACK.>",
            ],
            subscribe: &["_INBOX.>"],
        }
    }

    fn entry(&self) -> Value {
        json!({
            "user": self.name,
            "password": self.password,
            "permissions": { "publish": self.publish, "subscribe": self.subscribe },
        })
    }
}

#[derive(Clone, Debug)]
pub struct Nats {
    pub binary: PathBuf,
    /// Contains the configuration and the streams.
    pub folder: PathBuf,
    pub log: PathBuf,
    pub address: SocketAddr,
    pub monitoring: SocketAddr,
    pub users: Vec<User>,
}

impl Nats {
    pub fn url(&self, user: &str) -> String {
        let password = self.users.iter().find(|known| known.name == user).map_or("", |known| &known.password);
        format!("nats://{user}:{password}@{}", self.address)
    }

    /// The streams.
    pub fn store(&self) -> PathBuf {
        self.folder.join("jetstream")
    }

    /// Writes the configuration.
    pub fn server(&self) -> Result<Server> {
        fs::create_dir_all(&self.folder)?;
        let configuration = self.folder.join("nats.conf");
        // It contains passwords.
        OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(&configuration)?
            .write_all(format!("{:#}", self.configuration()).as_bytes())?;
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

    /// NATS reads JSON as well as its own syntax.
    fn configuration(&self) -> Value {
        let users: Vec<Value> = self.users.iter().map(User::entry).collect();
        json!({
            "server_name": "sales",
            "listen": self.address,
            "http": self.monitoring,
            "jetstream": { "store_dir": self.folder },
            "authorization": { "users": users },
        })
    }
}
