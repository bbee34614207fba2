//! What the database itself guarantees to every client.

use sqlx::{Connection, PgConnection};
use testing::{Databases, purchased, values};

const SERVICES: [&str; 3] = ["command_api", "projector", "query_api"];
const INSERT: &str = "insert into event (position, recorded_at, event_id, schema_version, event_type, data)
                      values (99, now(), gen_random_uuid(), 1, 'SalesReset', '{}')";

async fn as_role(databases: &Databases, role: &str) -> PgConnection {
    PgConnection::connect(&databases.event_store_url(role)).await.unwrap()
}

async fn refused(connection: &mut PgConnection, statement: &'static str) {
    let error = sqlx::raw_sql(statement).execute(connection).await.expect_err(statement);
    let code = error.as_database_error().unwrap().code().unwrap().into_owned();
    assert_eq!(code, "42501", "{statement}: {error}"); // insufficient_privilege
}

#[tokio::test]
async fn no_service_can_change_or_truncate_the_log() {
    let databases = Databases::create().await;
    databases.append(&[purchased("pro", 19_900)]).await;
    for role in SERVICES {
        let mut connection = as_role(&databases, role).await;
        for statement in [
            "update event set event_type = 'x'",
            "delete from event",
            "truncate event",
            "update head set position = 0",
            "delete from head",
            "truncate head",
            "alter table event disable trigger all",
            "drop table event",
            INSERT,
        ] {
            refused(&mut connection, statement).await;
        }
    }
}

#[tokio::test]
async fn triggers_reject_changes_even_by_the_superuser() {
    let databases = Databases::create().await;
    databases.append(&[purchased("pro", 19_900)]).await;
    let mut superuser = databases.event_store().acquire().await.unwrap();
    for statement in [
        "update event set event_type = 'x'",
        "delete from event",
        "delete from event where false",
        "truncate event",
        "update head set position = 0",
        "update head set recorded_at = to_timestamp(0)",
        "delete from head",
        "truncate head",
    ] {
        refused(&mut superuser, statement).await;
    }
}

#[tokio::test]
async fn only_the_command_api_appends() {
    let databases = Databases::create().await;
    let append = "select append_events(array[gen_random_uuid()], array['SalesReset'], array[1::smallint], array['{}'], array[null])";
    for role in ["projector", "query_api"] {
        refused(&mut as_role(&databases, role).await, append).await;
    }
    sqlx::raw_sql(append).execute(&mut as_role(&databases, "command_api").await).await.unwrap();
    assert_eq!(databases.head().await, 1);
}

#[tokio::test]
async fn a_failed_batch_leaves_no_gap() {
    let databases = Databases::create().await;
    databases.append(&[purchased("pro", 19_900)]).await;
    let mut command_api = as_role(&databases, "command_api").await;
    let half_broken =
        "select append_events(array[gen_random_uuid(), gen_random_uuid()], array['SalesReset', 'SalesReset'],
                           array[1::smallint, 1::smallint], array['{}', 'not json'], array[null, null])";
    sqlx::raw_sql(half_broken).execute(&mut command_api).await.expect_err("it is not JSON");
    assert_eq!(databases.append(&[purchased("pro", 19_900)]).await, 2);
}

#[tokio::test]
async fn recorded_times_never_decrease() {
    let databases = Databases::create().await;
    databases.change_event_store("update head set recorded_at = now() + interval '1 hour'").await;
    databases.append(&[purchased("pro", 19_900)]).await;
    let in_order: Vec<bool> =
        values(databases.event_store(), "select event.recorded_at = head.recorded_at from event, head").await;
    assert_eq!(in_order, [true], "an event was recorded before the one in front of it");
}

#[tokio::test]
async fn every_column_has_a_comment_and_every_constraint_a_name() {
    let databases = Databases::create().await;
    for database in [databases.event_store(), databases.read_model()] {
        let unexplained: Vec<String> = values(
            database,
            "select format('%s.%s', relname, attname) from pg_attribute
             join pg_class on pg_class.oid = attrelid join pg_namespace on pg_namespace.oid = relnamespace
             where nspname = 'public' and relkind = 'r' and attnum > 0 and not attisdropped
               and relname <> '_sqlx_migrations' and col_description(attrelid, attnum) is null",
        )
        .await;
        assert_eq!(unexplained, Vec::<String>::new());
        let unnamed: Vec<String> = values(
            database,
            "select conname::text from pg_constraint
             join pg_class on pg_class.oid = conrelid join pg_namespace on pg_namespace.oid = relnamespace
             where nspname = 'public' and relname <> '_sqlx_migrations' and contype <> 'n'
               and conname ~ '_(pkey|fkey|check)[0-9]*$'",
        )
        .await;
        assert_eq!(unnamed, Vec::<String>::new());
    }
}
