//! Refuses poolers that give each transaction another session, such as PgBouncer in transaction mode: prepared statements, LISTEN and
//! settings belong to a session, so some requests would succeed and others fail.

use std::time::Duration;

use anyhow::bail;
use sqlx::{Connection, Executor, PgConnection, Row, postgres::PgConnectOptions};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

const RETRY_AFTER: Duration = Duration::from_secs(1);
/// A pooler lets a statement wait while a transaction has its only session.
const PATIENCE: Duration = Duration::from_secs(5);

/// Fails as soon as two connections turn out to share sessions. Otherwise returns when stopped. `setting` names the source of the
/// options in the error.
pub async fn require_own(
    setting: &'static str,
    options: PgConnectOptions,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let verified = async {
        // The service itself reports a database that does not answer.
        let shared = loop {
            if let Ok(Ok(shared)) = timeout(PATIENCE, are_shared(&options)).await {
                break shared;
            }
            sleep(RETRY_AFTER).await;
        };
        if shared {
            bail!(
                "{setting} leads to a pooler that gives each transaction another session, such as PgBouncer in transaction mode; \
                 connect to Postgres itself, or let the pooler keep sessions (pool_mode = session)"
            );
        }
        Ok(())
    };
    if let Some(Err(error)) = stop.run_until_cancelled(verified).await {
        return Err(error);
    }
    stop.cancelled().await;
    Ok(())
}

/// Whether two connections get the same session, or one of them gets another one while the other one has a transaction.
async fn are_shared(options: &PgConnectOptions) -> sqlx::Result<bool> {
    let mut ours = PgConnection::connect_with(options).await?;
    let mut other = PgConnection::connect_with(options).await?;
    let first = session(&mut ours).await?;
    other.execute("begin").await?;
    let shared = session(&mut other).await? == first || session(&mut ours).await? != first;
    other.close().await?;
    ours.close().await?;
    Ok(shared)
}

/// In the simple protocol, which needs no prepared statement.
async fn session(connection: &mut PgConnection) -> sqlx::Result<i32> {
    sqlx::raw_sql("select pg_backend_pid()").fetch_one(connection).await?.try_get(0)
}
