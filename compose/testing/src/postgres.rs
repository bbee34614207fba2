//! Postgres for tests: one for the whole test process, or one's own to stop and start.

use std::sync::OnceLock;

use crate::{Interrupt, folder, tools};
use stack::ports;
use stack::postgres::{Cluster, TESTS};
use stack::process::Process;
use stack::secrets;

/// A running Postgres with an empty cluster. Each test makes its own databases in it.
#[derive(Debug)]
pub struct Postgres {
    cluster: Cluster,
    process: Option<Process>,
}

/// The one that all tests of this process share. It starts with the first call, within a second.
pub fn postgres() -> &'static Postgres {
    static SHARED: OnceLock<Postgres> = OnceLock::new();
    SHARED.get_or_init(own_postgres)
}

/// One for a single test, which may stop it.
pub fn own_postgres() -> Postgres {
    let folder = folder::new("postgres");
    let cluster = Cluster {
        binaries: tools().postgres.clone(),
        data: folder.join("data"),
        log: folder.join("postgres.log"),
        address: ports::free().expect("a port is free"),
        admin_password: secrets::password(),
        tuning: TESTS,
    };
    cluster.initialize(&Interrupt::default()).expect("initdb succeeds");
    let mut postgres = Postgres { cluster, process: None };
    postgres.start();
    postgres
}

impl Postgres {
    pub fn url(&self, user: &str, password: &str, database: &str) -> String {
        self.cluster.url(user, password, database)
    }

    /// For the superuser.
    pub fn admin_url(&self, database: &str) -> String {
        self.cluster.admin_url(database)
    }

    pub fn address(&self) -> std::net::SocketAddr {
        self.cluster.address
    }

    /// The fast shutdown: every connection is cut at once.
    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.stop().expect("Postgres stops");
        }
    }

    /// On the same port, with the same data.
    pub fn start(&mut self) {
        let server = self.cluster.server().expect("the settings can be written");
        self.process = Some(server.start_and_wait(&Interrupt::default()).expect("Postgres starts"));
    }
}
