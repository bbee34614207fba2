//! The addresses of a system, without the proxies that break connections.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use stack::postgres::ADMIN;

pub struct Addresses {
    pub traefik: String,
    /// An access token with all roles, where tokens are required.
    pub token: Option<String>,
    /// The URLs of all replicas of each service.
    pub replicas: BTreeMap<&'static str, Vec<String>>,
    pub stores: Stores,
}

/// Where the databases and the stream are, and the passwords for them.
pub struct Stores {
    pub postgres: SocketAddr,
    pub nats: SocketAddr,
    pub admin_password: String,
    pub auditor_password: String,
    /// Of the user command-api, who may change the stream.
    pub nats_password: String,
}

impl Stores {
    pub fn database_url(&self, database: &str) -> String {
        self.url(ADMIN, &self.admin_password, database)
    }

    pub fn url(&self, user: &str, password: &str, database: &str) -> String {
        format!("postgres://{user}:{password}@{}/{database}", self.postgres)
    }
}

/// What the auditor compares the log with.
pub struct Checkpoints {
    pub public_key: PathBuf,
    /// The signed checkpoints of each projector.
    pub logs: Vec<PathBuf>,
}
