//! Connections to Postgres, and the migrations that each database is made of.

use std::{borrow::Cow, str::FromStr, time::Duration};

use anyhow::Context;
use sqlx::{
    AssertSqlSafe, ConnectOptions, Connection, PgConnection, PgPool, Postgres, SqlSafeStr,
    migrate::{MigrateDatabase, Migration, MigrationType, Migrator},
    postgres::{PgConnectOptions, PgPoolOptions},
};

/// A caller that cannot have a connection by then is answered that the service is busy.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(2);
/// No statement of a service may hold locks or a connection for longer; rebuilds read in pages and stay below it.
const STATEMENT_TIMEOUT: &str = "10s";

/// How a service connects: its name is shown to the operator, its statements are bounded. `setting` is where the address
/// comes from, for the error.
pub fn options(setting: &str, url: &str, service: &str) -> anyhow::Result<PgConnectOptions> {
    Ok(PgConnectOptions::from_str(url)
        .with_context(|| format!("{setting} is not a Postgres address (postgres://user:password@host:port/database)"))?
        .application_name(service)
        .options([("statement_timeout", STATEMENT_TIMEOUT)])
        .disable_statement_logging())
}

/// A pool that connects when it is first used, so that a service starts while its database is away.
pub fn pool(setting: &str, url: &str, service: &str, max_connections: u32) -> anyhow::Result<PgPool> {
    Ok(PgPoolOptions::new()
        .max_connections(max_connections)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .connect_lazy_with(options(setting, url, service)?))
}

/// One SQL file of a `migrations` folder.
pub struct MigrationFile {
    pub version: i64,
    pub name: &'static str,
    pub sql: &'static str,
}

/// Lists the files of a migrations folder, numbered in the order given.
#[macro_export]
macro_rules! migration_files {
    ($folder:literal: $($name:literal),+ $(,)?) => {
        [$(($name, include_str!(concat!($folder, "/", $name, ".sql")))),+]
            .into_iter()
            .zip(1..)
            .map(|((name, sql), version)| $crate::database::MigrationFile { version, name, sql })
            .collect::<Vec<_>>()
    };
}

/// Creates the database where it is missing, brings it up to date, and sets the passwords of its roles.
pub async fn migrate(
    admin_url: &str,
    files: &[MigrationFile],
    passwords: &[(&'static str, &str)],
) -> anyhow::Result<()> {
    if !Postgres::database_exists(admin_url).await.context("the database server cannot be reached")? {
        Postgres::create_database(admin_url).await.context("the database cannot be created")?;
    }
    let migrations = files.iter().map(|file| {
        let sql = file.sql.into_sql_str();
        Migration::new(file.version, Cow::Borrowed(file.name), MigrationType::Simple, sql, false)
    });
    let mut connection = PgConnectOptions::from_str(admin_url)?.disable_statement_logging().connect().await?;
    Migrator::with_migrations(migrations.collect()).run(&mut connection).await?;
    keep_out_of_the_logs(&mut connection).await?;
    for (role, password) in passwords {
        set_password(&mut connection, role, password).await.with_context(|| format!("password of role {role}"))?;
    }
    connection.close().await?;
    Ok(())
}

/// Passwords follow. A server writes down statements that fail, unless told not to by somebody who may.
async fn keep_out_of_the_logs(connection: &mut PgConnection) -> sqlx::Result<()> {
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

/// `alter role` takes no parameters, so the server itself quotes the password.
async fn set_password(connection: &mut PgConnection, role: &str, password: &str) -> sqlx::Result<()> {
    let statement: String = sqlx::query_scalar("select format('alter role %I login password %L', $1, $2)")
        .bind(role)
        .bind(password)
        .fetch_one(&mut *connection)
        .await?;
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(connection).await?;
    Ok(())
}
