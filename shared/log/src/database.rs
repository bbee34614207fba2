//! Connections to Postgres.

use std::{str::FromStr, time::Duration};

use anyhow::Context;
use sqlx::{
    ConnectOptions, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};

/// A request without a connection by then is answered 503.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(2);
/// Upper bound for any statement of a service; rebuilds read in pages and stay below it.
pub const STATEMENT_TIMEOUT: &str = "10s";

/// Upper bound for a transaction, and for its pauses. They end the session of a service that fell silent: it holds its locks after a
/// statement until Postgres receives the end of the transaction, or of an implicit one (`Sync`), which no other timeout covers.
const TRANSACTION_TIMEOUTS: [(&str, &str); 2] =
    [("transaction_timeout", "30s"), ("idle_in_transaction_session_timeout", "10s")];

/// Options of a service's connections: its name for operators, timeouts. `setting` names the source of the URL in the error.
pub fn options(setting: &str, url: &str, service: &str) -> anyhow::Result<PgConnectOptions> {
    Ok(PgConnectOptions::from_str(url)
        .with_context(|| format!("{setting} is not a Postgres URL (postgres://user:password@host:port/database)"))?
        .application_name(service)
        .options([("statement_timeout", STATEMENT_TIMEOUT)])
        .options(TRANSACTION_TIMEOUTS)
        .disable_statement_logging())
}

/// A pool that connects on first use, so that a service starts while its database is unreachable.
pub fn pool(setting: &str, url: &str, service: &str, max_connections: u32) -> anyhow::Result<PgPool> {
    Ok(PgPoolOptions::new()
        .max_connections(max_connections)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .connect_lazy_with(options(setting, url, service)?))
}
