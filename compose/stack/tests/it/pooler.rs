//! `PgBouncer` between a service and Postgres.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::chown;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::Signal;
use stack::account::{Account, WORKING_FOLDER};
use stack::interrupt::Interrupt;
use stack::launch::Program;
use stack::ports;
use stack::probe::Probe;
use stack::process::Process;
use stack::server::Server;
use tempfile::TempDir;
use testing::{Databases, Ended};
use tokio::task::spawn_blocking;

/// Starts a pooler for the role `query_api` of the databases of tests.
async fn pooler(mode: &str, postgres: SocketAddr, folder: &Path) -> (Process, SocketAddr) {
    let address = ports::free().unwrap();
    let account = Account::for_postgres(folder).unwrap();
    let seen = account.as_ref().map_or(folder, |_| Path::new(WORKING_FOLDER)).display();
    let configuration = format!(
        "[databases]\n* = host={} port={}\n[pgbouncer]\nlisten_addr = {}\nlisten_port = {}\nunix_socket_dir =\n\
         auth_type = scram-sha-256\nauth_file = {seen}/users\npool_mode = {mode}\nignore_startup_parameters = options,extra_float_digits\n",
        postgres.ip(),
        postgres.port(),
        address.ip(),
        address.port()
    );
    let arguments = vec![format!("{seen}/pgbouncer.ini").into()];
    for (name, content) in [("pgbouncer.ini", &*configuration), ("users", "\"query_api\" \"test\"\n")] {
        fs::write(folder.join(name), content).unwrap();
    }
    if let Some(account) = &account {
        chown(folder, Some(account.user_id), Some(account.group_id)).unwrap();
    }
    let program = Program {
        name: "pgbouncer".to_owned(),
        path: "pgbouncer".into(),
        arguments,
        environment: Vec::new(),
        account,
        log: folder.join("pgbouncer.log"),
        stop_signal: Signal::SIGTERM,
        stop_within: Duration::from_secs(10),
    };
    let server = Server { program, address, probe: Probe::Postgres { address }, ready_within: Duration::from_secs(30) };
    let started = spawn_blocking(move || server.start_and_wait(&Interrupt::default())).await.unwrap();
    (started.unwrap_or_else(|error| panic!("{error:#}")), address)
}

#[tokio::test]
async fn a_pooler_is_refused_with_the_setting_that_leads_to_it() {
    for mode in ["transaction", "session"] {
        let (databases, folder) = (Databases::create().await, TempDir::new().unwrap());
        let (_pooler, address) = pooler(mode, testing::postgres().address(), folder.path()).await;
        let read_model = databases.read_model_url_via("query_api", address);
        let settings = [("READ_MODEL_URL", read_model.as_str()), ("LISTEN_ADDRESS", "127.0.0.1:0")];
        let Ended { success, log } = databases.command("query-api", &["serve"], &settings).ended().await;
        assert!(!success && log.contains("READ_MODEL_URL leads to a pooler"), "{mode}: {log}");
    }
}
