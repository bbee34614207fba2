//! Refuses poolers such as `PgBouncer` that ignore the settings of a connection. They drop the timeout of statements, and in transaction
//! mode also prepared statements and LISTEN, so that some requests succeed and others fail.

use std::time::Duration;

use anyhow::ensure;
use event_log::database::{self, STATEMENT_TIMEOUT};
use sqlx::{Connection, PgConnection, Row, postgres::PgConnectOptions};
use tokio::time::timeout;

use crate::{backoff::Backoff, tasks::Tasks};

/// Of one attempt: a server may accept a connection and not answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Ends the service as soon as a connection to one of the databases turns out to have other settings than the required ones. A database
/// has the name and the value of its setting.
pub fn refuse(tasks: &mut Tasks, service: &str, databases: &[(&'static str, &str)]) -> anyhow::Result<()> {
    for &(setting, url) in databases {
        let options = database::options(setting, url, service)?;
        tasks.spawn("check for a pooler", async move |stop| {
            if let Some(Err(error)) = stop.run_until_cancelled(check(setting, &options)).await {
                return Err(error);
            }
            stop.cancelled().await;
            Ok(())
        });
    }
    Ok(())
}

async fn check(setting: &str, options: &PgConnectOptions) -> anyhow::Result<()> {
    let mut backoff = Backoff::default();
    // The service itself reports a database that does not answer.
    let effective = loop {
        if let Ok(Ok(effective)) = timeout(TIMEOUT, statement_timeout(options)).await {
            break effective;
        }
        backoff.wait().await;
    };
    ensure!(
        effective == STATEMENT_TIMEOUT,
        "{setting} leads to a pooler, such as PgBouncer, that ignores the settings of a connection: its statement_timeout is \
         {effective} instead of {STATEMENT_TIMEOUT}; connect to Postgres itself"
    );
    Ok(())
}

/// In the simple protocol, which needs no prepared statement.
async fn statement_timeout(options: &PgConnectOptions) -> sqlx::Result<String> {
    let mut connection = PgConnection::connect_with(options).await?;
    let effective = sqlx::raw_sql("show statement_timeout").fetch_one(&mut connection).await?.try_get(0)?;
    connection.close().await?;
    Ok(effective)
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_server_that_does_not_answer_is_connected_to_again() {
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("postgres://user@{}/database", silent.local_addr().unwrap());
        let options = database::options("URL", &url, "test").unwrap();
        let checking = tokio::spawn(async move { check("URL", &options).await });
        let _unanswered = silent.accept().await.unwrap();
        timeout(100 * TIMEOUT, silent.accept()).await.expect("it tries again").unwrap();
        checking.abort();
    }
}
