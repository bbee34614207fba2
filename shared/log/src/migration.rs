//! Migrations, and the roles that log in to the databases.

use std::{borrow::Cow, str::FromStr};

use anyhow::Context;
use postgres_protocol::password::scram_sha_256;
use sqlx::{
    AssertSqlSafe, ConnectOptions, Connection, PgConnection, Postgres, SqlSafeStr,
    migrate::{MigrateDatabase, Migration, MigrationType, Migrator},
    postgres::PgConnectOptions,
};

/// A migration that waits for a lock blocks every later user of the table, so it fails instead. Any reader may hold one: that of a table
/// which it reads, or the advisory lock of migrations.
const LOCK_TIMEOUT: &str = "5s";

/// Roles that only read, and how many connections each may have. A quarter of the server's 200 remains for the others and for operators.
/// One replica of query-api needs at most 10.
const READERS: [(&str, i32); 4] = [("query_api", 110), ("auditor", 20), ("monitor", 10), ("barman", 10)];
/// Bounds for a reader that sets none. They end forgotten sessions: an old snapshot slows all purchases down.
const READER_TIMEOUTS: [(&str, &str); 3] =
    [("statement_timeout", "1min"), ("idle_in_transaction_session_timeout", "1min"), ("transaction_timeout", "5min")];
/// Its backups take hours.
const WITHOUT_TIMEOUTS: &str = "barman";

/// Names and contents of the files of a migrations folder. `sqlx::migrate!` would compile sqlx a second time, for the
/// build.
#[macro_export]
macro_rules! migration_files {
    ($folder:literal: $($name:literal),+ $(,)?) => {
        [$(($name, include_str!(concat!($folder, "/", $name, ".sql")))),+]
    };
}

/// Creates the database if it is missing, applies the migrations in the given order, and sets the passwords and limits of its
/// roles.
pub async fn migrate(
    admin_url: &str,
    files: &[(&'static str, &'static str)],
    passwords: &[(&'static str, &str)],
) -> anyhow::Result<()> {
    if !Postgres::database_exists(admin_url).await.context("the database server cannot be reached")? {
        Postgres::create_database(admin_url).await.context("the database cannot be created")?;
    }
    let options = PgConnectOptions::from_str(admin_url)?.options([("lock_timeout", LOCK_TIMEOUT)]);
    let mut connection = options.disable_statement_logging().connect().await?;
    if let Err(error) = apply(&mut connection, files, passwords).await {
        return Err(if is_lock_timeout(&error) {
            let holders = lock_holders(&mut connection).await?;
            error.context(format!(
                "another session held a lock for {LOCK_TIMEOUT}; pg_terminate_backend(PID) ends one of: {holders}"
            ))
        } else {
            error
        });
    }
    connection.close().await?;
    Ok(())
}

async fn apply(
    connection: &mut PgConnection,
    files: &[(&'static str, &'static str)],
    passwords: &[(&'static str, &str)],
) -> anyhow::Result<()> {
    let migrations = files.iter().zip(1..).map(|((name, sql), version)| {
        Migration::new(version, Cow::Borrowed(*name), MigrationType::Simple, sql.into_sql_str(), false)
    });
    Migrator::with_migrations(migrations.collect()).run(&mut *connection).await?;
    hide_statements(connection).await?;
    for (role, password) in passwords {
        set_login(connection, role, password).await.with_context(|| format!("role {role}"))?;
    }
    Ok(())
}

/// Keeps the verifiers that follow out of the server's log and statistics of statements, if the role may change these settings.
async fn hide_statements(connection: &mut PgConnection) -> sqlx::Result<()> {
    sqlx::query(
        "select set_config(name, value, false)
         from (values ('log_min_error_statement', 'panic'), ('log_statement', 'none'), ('log_min_duration_statement', '-1'),
                   ('pg_stat_statements.track', 'none'))
             as setting (name, value)
         where has_parameter_privilege(name, 'set')",
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The server never receives the password. `alter role` takes no parameters, so the server quotes the verifier.
async fn set_login(connection: &mut PgConnection, role: &str, password: &str) -> sqlx::Result<()> {
    let reader = READERS.into_iter().find(|(reader, _)| *reader == role);
    let statement: String =
        sqlx::query_scalar("select format('alter role %I login connection limit %s password %L', $1, $2, $3)")
            .bind(role)
            .bind(reader.map_or(-1, |(_, connections)| connections))
            .bind(scram_sha_256(password.as_bytes()))
            .fetch_one(&mut *connection)
            .await?;
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut *connection).await?;
    if reader.is_some() && role != WITHOUT_TIMEOUTS {
        for (name, value) in READER_TIMEOUTS {
            let statement = format!("alter role {role} set {name} = '{value}'");
            sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut *connection).await?;
        }
    }
    Ok(())
}

fn is_lock_timeout(error: &anyhow::Error) -> bool {
    let mut codes = error.chain().filter_map(|cause| cause.downcast_ref::<sqlx::Error>()?.as_database_error()?.code());
    codes.any(|code| code == "55P03") // lock_not_available
}

/// Sessions of the database with a transaction or an advisory lock.
async fn lock_holders(connection: &mut PgConnection) -> sqlx::Result<String> {
    sqlx::query_scalar(
        "select coalesce(string_agg(format('%s (role %s, %s)', pid, usename, application_name), ', '), 'none is left')
         from pg_stat_activity
         where datname = current_database() and pid <> pg_backend_pid()
             and (xact_start is not null or pid in (select pid from pg_locks where locktype = 'advisory'))",
    )
    .fetch_one(connection)
    .await
}
