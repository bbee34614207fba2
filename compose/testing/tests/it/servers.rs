use std::fs;
use std::path::Path;

use serde_json::Value;
use sqlx::{Connection, PgConnection};
use stack::checkout;
use stack::probe::Probe;
use testing::Nats;
use tokio::task::spawn_blocking;

#[test]
fn postgres_is_shared_and_ready() {
    let postgres = testing::postgres();
    assert!(Probe::Postgres { address: postgres.address() }.passes());
    assert_eq!(postgres.address(), testing::postgres().address());
}

#[test]
fn an_own_postgres_stops_and_comes_back_on_the_same_port() {
    let mut postgres = testing::own_postgres();
    let probe = Probe::Postgres { address: postgres.address() };
    postgres.stop();
    assert!(!probe.passes());
    postgres.start();
    assert!(probe.passes());
}

/// Started by root, too: its superuser runs any program.
#[tokio::test]
async fn the_database_reads_no_file_of_root_and_has_no_capability() {
    let postgres = spawn_blocking(testing::postgres).await.unwrap();
    let mut superuser = PgConnection::connect(&postgres.admin_url("postgres")).await.unwrap();
    let refused = sqlx::query("select pg_read_file('/etc/shadow')").execute(&mut superuser).await.unwrap_err();
    assert_eq!(refused.as_database_error().unwrap().code().unwrap(), "42501", "{refused}"); // insufficient_privilege
    let read = "select pg_read_file('/proc/self/status')";
    let status: String = sqlx::query_scalar(read).fetch_one(&mut superuser).await.unwrap();
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert!(status.contains(&format!("{set}:\t0000000000000000\n")), "{set}: {status}");
    }
}

/// With the same limits in the containers.
#[tokio::test]
async fn postgres_notices_that_a_client_has_vanished() {
    let postgres = spawn_blocking(testing::postgres).await.unwrap();
    let mut session = PgConnection::connect(&postgres.admin_url("postgres")).await.unwrap();
    let [development, deployment, nodes] = ["docker-compose.yml", "docker-compose-deploy.yml", "ha/patroni.yml"]
        .map(|file| fs::read_to_string(checkout::root().join("compose").join(file)).unwrap());
    for (setting, limit, in_effect) in [
        ("tcp_keepalives_idle", "10", "10"),
        ("tcp_keepalives_interval", "5", "5"),
        ("tcp_keepalives_count", "3", "3"),
        ("tcp_user_timeout", "15s", "15000"),
    ] {
        let found: String =
            sqlx::query_scalar("select current_setting($1)").bind(setting).fetch_one(&mut session).await.unwrap();
        assert_eq!(found, in_effect, "{setting}");
        for file in [&development, &deployment] {
            assert!(file.contains(&format!("      - -c{setting}={limit}\n")), "{setting}");
        }
        assert!(nodes.contains(&format!("    {setting}: {limit}\n")), "{setting}");
    }
}

#[test]
fn nats_comes_back_on_the_same_port() {
    let mut nats = Nats::start();
    let address = nats.address();
    nats.stop();
    nats.wipe();
    nats.start_again();
    assert_eq!(nats.address(), address);
}

/// Otherwise it depends on the disk at the time of the start.
#[tokio::test]
async fn the_store_of_nats_has_a_fixed_limit() {
    let nats = Nats::start();
    let limit = &jetstream(&nats).await["config"]["max_storage"];
    assert_eq!(*limit, 8_u64 << 30);
}

/// NATS itself would never be ready.
#[tokio::test(flavor = "multi_thread")]
async fn nats_starts_after_it_was_killed_while_it_created_a_stream() {
    let mut nats = Nats::start();
    let store = jetstream(&nats).await["config"]["store_dir"].as_str().unwrap().to_owned();
    nats.stop();
    let stream = Path::new(&store).join("SALES/streams/SALES_EVENTS");
    fs::create_dir_all(stream.join("msgs")).unwrap();
    nats.start_again();
    assert!(!stream.exists());
}

async fn jetstream(nats: &Nats) -> Value {
    let report = reqwest::get(nats.monitoring_url("/jsz")).await.unwrap().text().await.unwrap();
    serde_json::from_str(&report).unwrap()
}
