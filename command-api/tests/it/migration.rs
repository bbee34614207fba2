//! `command-api migrate` on a Postgres of its own.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use sqlx::{Connection, Executor, PgConnection};
use testing::{Command, Ended, Postgres, own_postgres};
use tokio::{
    io::{self, AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::spawn_blocking,
};

const DATABASE: &str = "event_store";
const PASSWORD: &str = "correct-horse";
/// The advisory lock that sqlx takes for `DATABASE`.
const MIGRATION_LOCK: &str = "select pg_advisory_lock(3278057233831724330)";

async fn migrate(url: &str) -> Ended {
    let passwords = ["COMMAND_API", "PROJECTOR", "QUERY_API", "AUDITOR"].map(|role| format!("{role}_DB_PASSWORD"));
    let mut environment = vec![("EVENT_STORE_ADMIN_URL", url)];
    environment.extend(passwords.iter().map(|name| (name.as_str(), PASSWORD)));
    Command::start("command-api", &["migrate"], &environment).ended().await
}

async fn migrated() -> Postgres {
    let postgres = spawn_blocking(own_postgres).await.unwrap();
    let Ended { success, log } = migrate(&postgres.admin_url(DATABASE)).await;
    assert!(success, "{log}");
    postgres
}

async fn session(postgres: &Postgres, role: &str) -> sqlx::Result<PgConnection> {
    PgConnection::connect(&postgres.url(role, PASSWORD, DATABASE)).await
}

/// Forwards connections to a server, and records what clients send.
async fn record(listener: TcpListener, server: SocketAddr, sent: Arc<Mutex<Vec<u8>>>) {
    while let Ok((client, _)) = listener.accept().await {
        let (server, sent) = (TcpStream::connect(server).await.unwrap(), Arc::clone(&sent));
        let (mut requests, mut to_client) = client.into_split();
        let (mut responses, mut to_server) = server.into_split();
        tokio::spawn(async move { io::copy(&mut responses, &mut to_client).await });
        tokio::spawn(async move {
            let mut chunk = [0; 4096];
            while let Ok(length @ 1..) = requests.read(&mut chunk).await {
                sent.lock().unwrap().extend(&chunk[..length]);
                to_server.write_all(&chunk[..length]).await.unwrap();
            }
        });
    }
}

#[tokio::test]
async fn the_server_never_receives_a_password() {
    let postgres = spawn_blocking(own_postgres).await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = postgres.admin_url(DATABASE);
    let through = url.replace(&postgres.address().to_string(), &listener.local_addr().unwrap().to_string());
    assert_ne!(through, url);
    let sent = Arc::new(Mutex::new(Vec::new()));
    tokio::spawn(record(listener, postgres.address(), Arc::clone(&sent)));
    let Ended { success, log } = migrate(&through).await;
    assert!(success, "{log}");
    let sent = String::from_utf8_lossy(&sent.lock().unwrap()).into_owned();
    let statements: Vec<_> = sent.split('\0').filter(|text| text.contains("alter role query_api login")).collect();
    assert!(matches!(statements[..], [verifier] if verifier.contains("'SCRAM-SHA-256$4096:")), "{statements:?}");
    assert!(!sent.contains(PASSWORD), "{sent}");
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
async fn readers_have_timeouts() {
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
    let Ended { success, log } = migrate(&postgres.admin_url(DATABASE)).await;
    assert!(!success && log.contains(&format!("{pid} (role auditor")), "{log}");
    reader.close().await.unwrap();
    assert!(migrate(&postgres.admin_url(DATABASE)).await.success);
}
