//! `command-api migrate` on a Postgres of its own.

use sqlx::{Connection, Executor, PgConnection};
use testing::{Command, Ended, Postgres, own_postgres};
use tokio::task::spawn_blocking;

const DATABASE: &str = "event_store";
const PASSWORD: &str = "correct-horse";
/// The advisory lock that sqlx takes for `DATABASE`.
const MIGRATION_LOCK: &str = "select pg_advisory_lock(3278057233831724330)";

async fn migrate(postgres: &Postgres) -> Ended {
    let url = postgres.admin_url(DATABASE);
    let passwords = ["COMMAND_API", "PROJECTOR", "QUERY_API", "AUDITOR"].map(|role| format!("{role}_DB_PASSWORD"));
    let mut environment = vec![("EVENT_STORE_ADMIN_URL", url.as_str())];
    environment.extend(passwords.iter().map(|name| (name.as_str(), PASSWORD)));
    Command::start("command-api", &["migrate"], &environment).ended().await
}

async fn migrated() -> Postgres {
    let postgres = spawn_blocking(own_postgres).await.unwrap();
    let Ended { success, log } = migrate(&postgres).await;
    assert!(success, "{log}");
    postgres
}

async fn session(postgres: &Postgres, role: &str) -> sqlx::Result<PgConnection> {
    PgConnection::connect(&postgres.url(role, PASSWORD, DATABASE)).await
}

#[tokio::test]
async fn the_server_never_receives_a_password() {
    let postgres = migrated().await;
    let mut admin = PgConnection::connect(&postgres.admin_url(DATABASE)).await.unwrap();
    admin.execute("create extension pg_stat_statements; select pg_stat_statements_reset()").await.unwrap();
    admin.execute("drop database if exists absent").await.unwrap();
    assert!(migrate(&postgres).await.success);
    let statements: Vec<String> =
        sqlx::query_scalar("select query from pg_stat_statements").fetch_all(&mut admin).await.unwrap();
    assert!(statements.iter().any(|statement| statement.starts_with("drop database")), "{statements:?}");
    let secrets: Vec<_> = statements.iter().filter(|text| text.contains(PASSWORD) || text.contains("SCRAM")).collect();
    assert!(secrets.is_empty(), "{secrets:?}");
    session(&postgres, "query_api").await.unwrap();
}

#[tokio::test]
async fn a_reader_cannot_take_all_connections() {
    let postgres = migrated().await;
    let mut sessions = Vec::new();
    let refused = loop {
        match session(&postgres, "auditor").await {
            Ok(session) => sessions.push(session),
            Err(error) => break error,
        }
    };
    assert_eq!(refused.as_database_error().unwrap().code().unwrap(), "53300", "{refused}"); // too_many_connections
    assert_eq!(sessions.len(), 20);
    session(&postgres, "command_api").await.unwrap();
}

#[tokio::test]
async fn a_forgotten_transaction_of_a_reader_ends() {
    let postgres = migrated().await;
    for (role, expected) in [("query_api", "1min 1min 5min"), ("auditor", "1min 1min 5min"), ("command_api", "0 0 0")] {
        let mut session = session(&postgres, role).await.unwrap();
        let timeouts: String = sqlx::query_scalar(
            "select concat_ws(' ', current_setting('statement_timeout'),
                 current_setting('idle_in_transaction_session_timeout'), current_setting('transaction_timeout'))",
        )
        .fetch_one(&mut session)
        .await
        .unwrap();
        assert_eq!(timeouts, expected, "{role}");
    }
}

#[tokio::test]
async fn a_migration_does_not_wait_for_the_lock_of_a_reader() {
    let postgres = migrated().await;
    let mut reader = session(&postgres, "auditor").await.unwrap();
    let pid: i32 = sqlx::query_scalar("select pg_backend_pid()").fetch_one(&mut reader).await.unwrap();
    reader.execute(MIGRATION_LOCK).await.unwrap();
    let Ended { success, log } = migrate(&postgres).await;
    assert!(!success && log.contains(&format!("{pid} (role auditor")), "{log}");
    reader.close().await.unwrap();
    assert!(migrate(&postgres).await.success);
}
