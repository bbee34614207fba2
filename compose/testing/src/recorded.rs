//! Events that a stack has recorded before a test begins.

use anyhow::{Result, ensure};
use sqlx::{Connection, PgConnection};

use stack::data_folder::DataFolder;
use stack::options::Options;
use stack::postgres::ADMIN;
use stack::secrets::Secrets;
use stack::services::EVENT_STORE;
use stack::stack::Stack;

/// An event: its time, such as `2026-10-25T00:30:00Z`, with its type and data.
pub type Recorded<'a> = (&'a str, (&'a str, String));

/// Writes earlier events to the log of a running stack. The log must be empty, because its times never decrease. The services could
/// not write these events for the same reason.
pub async fn record(stack: &Stack, options: &Options, events: &[Recorded<'_>]) -> Result<()> {
    let secrets = Secrets::load_or_create(&DataFolder::open(&options.data.folder)?.secrets())?;
    let address = stack.server("postgres").expect("a stack has a Postgres").address;
    let url = format!("postgres://{ADMIN}:{}@{address}/{EVENT_STORE}", secrets.postgres);
    let mut connection = PgConnection::connect(&url).await?;
    let mut transaction = connection.begin().await?;
    let head: i64 = sqlx::query_scalar("select position from head for update").fetch_one(&mut *transaction).await?;
    ensure!(head == 0, "earlier events can only be written to an empty log, and this one has {head} events");
    sqlx::query(
        "insert into event (position, recorded_at, event_id, schema_version, event_type, data)
         select position, happened_at::timestamptz, gen_random_uuid(), 1, type, data::json
         from unnest($1::text[], $2::text[], $3::text[]) with ordinality as past (happened_at, type, data, position)",
    )
    .bind(events.iter().map(|(time, _)| *time).collect::<Vec<_>>())
    .bind(events.iter().map(|(_, (event_type, _))| *event_type).collect::<Vec<_>>())
    .bind(events.iter().map(|(_, (_, data))| data.as_str()).collect::<Vec<_>>())
    .execute(&mut *transaction)
    .await?;
    sqlx::query("update head set (position, recorded_at) = (select max(position), max(recorded_at) from event)")
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await?;
    Ok(())
}
