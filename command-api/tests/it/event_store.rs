//! What the database itself guarantees to every client.

use command_api::store;
use contract::{
    catalogue::{self, License},
    cloud_event::CloudEvent,
    event::{Event, EventId, EventVoided, LicensePurchased, Metadata, SalesReset},
    position::Position,
    recorded_event::NewEvent,
    role::Role,
};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use testing::{Databases, purchased, reset, values};

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
async fn every_event_that_a_service_writes_is_accepted() {
    let databases = Databases::create().await;
    let mut command_api = as_role(&databases, "command_api").await;
    let text = |text: &str| Some(text.to_owned());
    let odd = "\"\\/\u{1}\u{8}\n\u{7f}\u{2028}ü🦀";
    let mut events: Vec<Event> = License::ALL
        .map(|license| Event::LicensePurchased(LicensePurchased { license, price: catalogue::price(license) }))
        .into();
    events.extend([None, text("new year"), text(odd)].map(|reason| Event::SalesReset(SalesReset { reason })));
    let broken = databases.append_unchecked(&[("LicensePurchased", "{}".to_owned())]).await;
    let broken = Position::try_from(broken).unwrap();
    events.push(Event::EventVoided(EventVoided { position: broken, reason: odd.to_owned() }));
    let mut metadata = vec![Metadata::default()];
    metadata.extend(Role::ALL.map(|role| Metadata {
        actor: text(odd),
        actor_role: Some(role),
        traceparent: text("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
        idempotency_key: text("order-17"),
        ..Metadata::default()
    }));
    metadata.push(Metadata { idempotency_key: text(r#"a"b\c"#), ..Metadata::default() });
    let mut batch: Vec<NewEvent> = events
        .iter()
        .flat_map(|event| {
            metadata.iter().map(|metadata| NewEvent::new(EventId::generate(), event.clone(), metadata.clone()))
        })
        .collect();
    // The previous version may still append.
    batch[1].metadata = Some(r#"{"actor":"a"}"#.to_owned());
    store::append(&mut command_api, batch.iter()).await.unwrap();
    let stored = event_log::read_after(databases.event_store(), broken, 1000).await.unwrap();
    assert_eq!(stored.len(), events.len() * metadata.len());
    for event in stored {
        event.decode().unwrap();
        CloudEvent::try_from(&event).unwrap();
    }
}

#[tokio::test]
async fn an_event_that_no_projector_can_count_is_refused() {
    let databases = Databases::create().await;
    let mut command_api = as_role(&databases, "command_api").await;
    let purchase = |license: &str, amount: &str, currency: &str| {
        format!(r#"{{"license":"{license}","price":{{"amount_minor":{amount},"currency":"{currency}"}}}}"#)
    };
    let mut events = vec![
        ("LicenseRented", 1, "{}".to_owned(), None),
        ("LicensePurchased", 2, purchase("pro", "1", "EUR"), None),
        ("SalesReset", 3, "{}".to_owned(), None),
    ];
    let purchases = [
        purchase("pro", "9223372036854775807", "EUR"),
        purchase("pro", "10000000000", "EUR"),
        purchase("pro", "-1", "EUR"),
        purchase("pro", "01", "EUR"),
        purchase("pro", "1.0", "EUR"),
        purchase("pro", "1e3", "EUR"),
        purchase("pro", r#""1""#, "EUR"),
        purchase("pro", "", "EUR"),
        purchase("pro", "1", "USD"),
        purchase("", "1", "EUR"),
        purchase(&"p".repeat(41), "1", "EUR"),
        purchase(r"p\u0072o", "1", "EUR"),
        purchase("pro", "1", r#"EUR","tax":"0"#),
        purchase("pro", "1", "EUR") + " ",
        "{}".to_owned(),
    ];
    events.extend(purchases.map(|data| ("LicensePurchased", 1, data, None)));
    for data in [r#"{"reason":"why"}"#, " {}", ""] {
        events.push(("SalesReset", 1, data.to_owned(), None));
    }
    for data in [
        r#"{"reason":null}"#,
        r#"{"reason":1}"#,
        r#"{"reason":"a","reason":"b"}"#,
        r#"{"reason":"a","by":"b"}"#,
        r#"{"reason": "a"}"#,
        "{\"reason\":\"a\nb\"}",
        r#"{"reason":"\u0000"}"#,
        r#"{"reason":"\u0041"}"#,
        "{}\n",
    ] {
        events.push(("SalesReset", 2, data.to_owned(), None));
    }
    let long = "a".repeat(17_000);
    events.push(("SalesReset", 2, format!(r#"{{"reason":"{long}"}}"#), None));
    let salt = r#""salt":"8f14e45fceea467fa7d1b8c9e3a20b64""#;
    let by_a = format!(r#"{{{salt},"actor":"a"}}"#);
    let mut wrong_metadata = vec!["[]".to_owned(), "null".to_owned(), "{".to_owned(), format!("{{{salt}}}")];
    wrong_metadata.push(format!(r#"{{{salt},"actor":"{long}"}}"#));
    wrong_metadata.extend(["", "8", "8F", "80f", "g8"].map(|start| by_a.replace("8f", start)));
    wrong_metadata.push(format!(r#"{{"actor":"a",{salt}}}"#));
    for members in [
        "",
        r#""actor":1"#,
        r#""actor":null"#,
        r#""actor": "a""#,
        r#""actor":"\u0041""#,
        r#""actor":"\u0000""#,
        r#""actor":"a","actor":"b""#,
        r#""actor":"a","colour":"red""#,
        r#""actor_role":"king""#,
        r#""traceparent":1"#,
        r#""idempotency_key":1"#,
        r#""traceparent":"t","actor":"a""#,
    ] {
        wrong_metadata.extend([format!("{{{members}}}"), format!("{{{salt},{members}}}")]);
    }
    for metadata in wrong_metadata {
        events.push(("SalesReset", 1, "{}".to_owned(), Some(metadata)));
    }
    for (event_type, version, data, metadata) in events {
        // After an event that is accepted on its own.
        let append = sqlx::query(
            "select append_events(array[gen_random_uuid(), gen_random_uuid()], array['SalesReset', $1], array[1, $2]::smallint[],
                 array['{}', $3], array[null, $4])",
        );
        let refused = append.bind(event_type).bind(version).bind(&data).bind(&metadata).execute(&mut command_api).await;
        let case = format!("{event_type} in version {version} with {data} and {metadata:?}");
        let code = refused.expect_err(&case).as_database_error().unwrap().code().unwrap().into_owned();
        // check_violation, or text that is no JSON, or none that Postgres can read
        assert!(["23514", "22P02", "22P05"].contains(&&*code), "{case}: {code}");
    }
    // The subscripts of such arrays differ from the order of their elements.
    for (data, metadata) in [
        ("array[['{\"x\":1}']]", "array[null]"),
        ("'[0:0]={\"[]\"}'::text[]", "array[null]"),
        ("array['{}']", "array[['[]']]"),
        ("array['{}']", "'[2:2]={[]}'::text[]"),
        ("array['{}', '{\"x\":1}']", "array[null]"),
    ] {
        let append = format!(
            "select append_events(array[gen_random_uuid()], array['SalesReset'], array[1::smallint], {data}, {metadata})"
        );
        let error = sqlx::query(AssertSqlSafe(append)).execute(&mut command_api).await.expect_err(data);
        assert!(error.to_string().contains("not lists of the same length"), "{data}, {metadata}: {error}");
    }
    assert_eq!(databases.head().await, 0);
}

#[tokio::test]
async fn a_decision_about_an_event_that_a_version_may_count_is_refused() {
    let databases = Databases::create().await;
    let decision = |position: &str| format!(r#"{{"position":{position},"reason":"r"}}"#);
    let broken = ("LicensePurchased", "{}".to_owned());
    let unknown = ("LicenseRented", "{}".to_owned());
    let decisions = [("EventVoided", decision("4")), ("EventVoided", "{}".to_owned())];
    let log = [purchased("pro", 1), purchased("gold", 1), unknown, broken, reset()];
    let head = databases.append_unchecked(&[&log[..], &decisions, &log[3..4]].concat()).await;
    assert_eq!(head, 8);
    let mut command_api = as_role(&databases, "command_api").await;
    let mut append = async |data: &str| {
        let append = "select append_events(array[gen_random_uuid()], array['EventVoided'], array[1::smallint], array[$1], array[null])";
        sqlx::query(append).bind(data).execute(&mut command_api).await
    };
    let mut refused: Vec<String> =
        ["1", "2", "3", "4", "5", "6", "9", "10", "0", "-1", "08", "8.0", "null"].map(decision).into();
    refused.extend(["999999999999999999", "9223372036854775807"].map(decision));
    refused.extend(
        [
            r#"{"position":8}"#,
            r#"{"position":8,"reason":""}"#,
            r#"{"position":8,"reason":null}"#,
            r#"{"reason":"r","position":8}"#,
            r#"{"position":8,"reason":"r","by":"b"}"#,
            r#"{"position": 8,"reason":"r"}"#,
            "{}",
        ]
        .map(str::to_owned),
    );
    for data in &refused {
        let error = append(data).await.expect_err(data);
        assert_eq!(error.as_database_error().unwrap().code().unwrap(), "23514", "{data}: {error}");
    }
    assert_eq!(databases.head().await, head);
    refused = [4097, 4096].map(|length| format!(r#"{{"position":8,"reason":"{}"}}"#, "r".repeat(length - 26))).into();
    assert_eq!(refused.iter().map(String::len).collect::<Vec<_>>(), [4097, 4096]);
    assert!(append(&refused[0]).await.is_err());
    for data in [&refused[1], &decision("7")] {
        append(data).await.unwrap();
    }
    assert!(append(&decision("7")).await.is_err(), "one decision per event is enough");
}

#[tokio::test]
async fn a_database_whose_clock_is_ahead_of_that_of_the_service_records_nothing() {
    let databases = Databases::create().await;
    let mut command_api = as_role(&databases, "command_api").await;
    let mut append = async |called_at: &str| {
        let append = format!(
            "select append_events(array[gen_random_uuid()], array['SalesReset'], array[1::smallint], array['{{}}'], array[null], {called_at})"
        );
        sqlx::raw_sql(AssertSqlSafe(append)).execute(&mut command_api).await
    };
    append("now()").await.unwrap();
    append("now() - interval '4 minutes'").await.unwrap();
    append("now() + interval '1 hour'").await.unwrap();
    let error = append("now() - interval '6 minutes'").await.unwrap_err();
    assert!(store::is_wrong_clock(&error), "{error}");
    assert_eq!(databases.head().await, 3);
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
