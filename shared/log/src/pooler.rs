//! Refuses poolers such as `PgBouncer` that ignore the settings of a connection. They drop the timeout of statements, and in transaction
//! mode also prepared statements and LISTEN, so that some requests succeed and others fail.

use std::time::Duration;

use anyhow::bail;
use sqlx::{Connection, PgConnection, Row, postgres::PgConnectOptions};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::database::STATEMENT_TIMEOUT;

const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Fails as soon as a connection turns out to have other settings than the given ones. Otherwise returns when stopped. `setting` names
/// the source of the options in the error.
pub async fn refuse(setting: &'static str, options: PgConnectOptions, stop: CancellationToken) -> anyhow::Result<()> {
    let verified = async {
        // The service itself reports a database that does not answer.
        let effective = loop {
            match statement_timeout(&options).await {
                Ok(effective) => break effective,
                Err(_) => sleep(RETRY_AFTER).await,
            }
        };
        if effective != STATEMENT_TIMEOUT {
            bail!(
                "{setting} leads to a pooler, such as PgBouncer, that ignores the settings of a connection: its statement_timeout is \
                 {effective} instead of {STATEMENT_TIMEOUT}; connect to Postgres itself"
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

/// In the simple protocol, which needs no prepared statement.
async fn statement_timeout(options: &PgConnectOptions) -> sqlx::Result<String> {
    let mut connection = PgConnection::connect_with(options).await?;
    let effective = sqlx::raw_sql("show statement_timeout").fetch_one(&mut connection).await?.try_get(0)?;
    connection.close().await?;
    Ok(effective)
}
