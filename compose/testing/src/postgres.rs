//! Postgres for tests: one for all tests of a run, or one of a test's own to stop and start.

use std::env;
use std::path::PathBuf;
use std::sync::OnceLock;

use crate::{Interrupt, folder, tools};
use stack::postgres::{Cluster, TESTS};
use stack::process::Process;

/// A running Postgres. Each test makes its own databases in it.
#[derive(Debug)]
pub struct Postgres {
    cluster: Cluster,
    process: Option<Process>,
}

/// The one that `cargo stack test` started for all tests of the run. Without it, the tests of this process share one of their own.
pub fn postgres() -> &'static Postgres {
    static SHARED: OnceLock<Postgres> = OnceLock::new();
    SHARED.get_or_init(|| postgres_of_the_run().unwrap_or_else(own_postgres))
}

fn postgres_of_the_run() -> Option<Postgres> {
    let (address, password) = (env::var("TEST_POSTGRES_ADDRESS").ok()?, env::var("TEST_POSTGRES_PASSWORD").ok()?);
    let cluster = Cluster {
        binaries: tools().postgres.clone(),
        data: PathBuf::new(),
        log: PathBuf::new(),
        address: address.parse().expect("TEST_POSTGRES_ADDRESS is an address with a port"),
        admin_password: password,
        tuning: TESTS,
    };
    Some(Postgres { cluster, process: None })
}

/// One for a single test, which may stop it.
pub fn own_postgres() -> Postgres {
    let cluster = Cluster::for_tests(tools().postgres.clone(), &folder::new("postgres")).expect("initdb succeeds");
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
