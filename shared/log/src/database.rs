//! Connections to Postgres, and migrations.

use std::{borrow::Cow, str::FromStr, time::Duration};

use anyhow::Context;
use sqlx::{
    AssertSqlSafe, ConnectOptions, Connection, PgConnection, PgPool, Postgres, SqlSafeStr,
    migrate::{MigrateDatabase, Migration, MigrationType, Migrator},
    postgres::{PgConnectOptions, PgPoolOptions},
};

/// A request without a connection by then is answered 503.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(2);
/// Upper bound for any statement of a service; rebuilds read in pages and stay below it.
const STATEMENT_TIMEOUT: &str = "10s";

/// Options of a service's connections: its name for operators, a statement timeout. `setting` names the source of the URL in
/// the error.
pub fn options(setting: &str, url: &str, service: &str) -> anyhow::Result<PgConnectOptions> {
    Ok(PgConnectOptions::from_str(url)
        .with_context(|| format!("{setting} is not a Postgres URL (postgres://user:password@host:port/database)"))?
        .application_name(service)
        .options([("statement_timeout", STATEMENT_TIMEOUT)])
        .disable_statement_logging())
}

/// A pool that connects on first use, so that a service starts while its database is unreachable.
pub fn pool(setting: &str, url: &str, service: &str, max_connections: u32) -> anyhow::Result<PgPool> {
    Ok(PgPoolOptions::new()
        .max_connections(max_connections)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .connect_lazy_with(options(setting, url, service)?))
}

/// Names and contents of the files of a migrations folder. `sqlx::migrate!` would compile sqlx a second time, for the
/// build.
#[macro_export]
macro_rules! migration_files {
    ($folder:literal: $($name:literal),+ $(,)?) => {
        [$(($name, include_str!(concat!($folder, "/", $name, ".sql")))),+]
    };
}

/// Creates the database if it is missing, applies the migrations in the given order, and sets the passwords of its roles.
pub async fn migrate(
    admin_url: &str,
    files: &[(&'static str, &'static str)],
    passwords: &[(&'static str, &str)],
) -> anyhow::Result<()> {
    if !Postgres::database_exists(admin_url).await.context("the database server cannot be reached")? {
        Postgres::create_database(admin_url).await.context("the database cannot be created")?;
    }
    let migrations = files.iter().zip(1..).map(|((name, sql), version)| {
        Migration::new(version, Cow::Borrowed(*name), MigrationType::Simple, sql.into_sql_str(), false)
    });
    let mut connection = PgConnectOptions::from_str(admin_url)?.disable_statement_logging().connect().await?;
    Migrator::with_migrations(migrations.collect()).run(&mut connection).await?;
    disable_statement_logs(&mut connection).await?;
    for (role, password) in passwords {
        set_password(&mut connection, role, password).await.with_context(|| format!("password of role {role}"))?;
    }
    connection.close().await?;
    Ok(())
}

/// Keeps the passwords that follow out of the server's log of failed and slow statements, if the role may change these settings.
async fn disable_statement_logs(connection: &mut PgConnection) -> sqlx::Result<()> {
    sqlx::query(
        "select set_config(name, value, false)
         from (values ('log_min_error_statement', 'panic'), ('log_statement', 'none'), ('log_min_duration_statement', '-1'))
             as setting (name, value)
         where has_parameter_privilege(name, 'set')",
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// `alter role` takes no parameters, so the server quotes the password.
async fn set_password(connection: &mut PgConnection, role: &str, password: &str) -> sqlx::Result<()> {
    let statement: String = sqlx::query_scalar("select format('alter role %I login password %L', $1, $2)")
        .bind(role)
        .bind(password)
        .fetch_one(&mut *connection)
        .await?;
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(connection).await?;
    Ok(())
}
