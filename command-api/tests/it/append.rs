//! Many writers, and everything that can go wrong between a request and its answer.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use command_api::{
    decide::{Command, decide},
    handoff,
    writer::{self, AppendError, MAX_BATCH, QUEUE_CAPACITY, WriterHandle},
};
use contract::{
    catalogue::License,
    event::{EventId, Metadata},
    recorded_event::NewEvent,
};
use event_log::database;
use futures::{StreamExt, future::join_all, stream};
use nix::sys::signal::Signal;
use prometheus_client::registry::Registry;
use reqwest::StatusCode;
use serde_json::Value;
use testing::{Databases, NO_NATS, Proxy, Service, Until, cases, eventually, own_postgres, values};
use tokio::{io::AsyncWriteExt, net::TcpStream, task::JoinSet, time::sleep};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::support::buy;

const LICENSES: [&str; 3] = ["basic", "pro", "enterprise"];

/// Every receipt matches its row, each id is stored once, and the positions are 1, 2, 3 …
async fn assert_log_matches(databases: &Databases, receipts: &HashMap<Uuid, Value>) {
    let rows: Vec<(i64, Uuid, String)> =
        sqlx::query_as("select position, event_id, data ->> 'license' from event order by position")
            .fetch_all(databases.event_store())
            .await
            .unwrap();
    assert_eq!(rows.len(), receipts.len(), "acknowledged and stored purchases differ in number");
    for (expected, (position, id, license)) in (1..).zip(&rows) {
        assert_eq!(*position, expected, "the log has a hole");
        let receipt = receipts.get(id).unwrap_or_else(|| panic!("{id} was stored but never acknowledged"));
        assert_eq!(receipt["position"], *position);
        assert_eq!(receipt["license"], **license);
    }
    assert_eq!(databases.head().await, i64::try_from(rows.len()).unwrap());
}

/// A command API that reaches its event store through a proxy.
async fn via(databases: &Databases, proxy: &Proxy) -> Service {
    let event_store = databases.event_store_url_via("command_api", proxy.address());
    let settings = [("EVENT_STORE_URL", event_store.as_str()), ("NATS_URL", NO_NATS)];
    databases.start("command-api", Until::Ready, &settings).await
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_four_writers_through_two_instances_leave_no_gap_and_no_duplicate() {
    const WRITERS: usize = 64;
    let count = usize::try_from(cases("TEST_CONCURRENT_PURCHASES", 2_000)).unwrap();
    let databases = Databases::create().await;
    let instances = [databases.command_api(NO_NATS).await, databases.command_api(NO_NATS).await];
    let receipts = Mutex::new(HashMap::new());
    // Every fourth request repeats the key of the request before it, so that both land in one batch or in concurrent
    // batches of the two instances.
    let requests = (0..count).scan(Uuid::nil(), |key, number| {
        if number % 4 != 3 {
            *key = Uuid::new_v4();
        }
        Some((number, *key))
    });
    stream::iter(requests)
        .for_each_concurrent(WRITERS, |(number, key)| {
            let (receipts, instance) = (&receipts, &instances[number % 2]);
            async move {
                let license = LICENSES[usize::from(key.as_bytes()[0]) % 3];
                let response = buy(instance, license, key).await.unwrap();
                assert_eq!(response.status(), StatusCode::CREATED);
                let receipt: Value = response.json().await.unwrap();
                if let Some(other) = receipts.lock().unwrap().insert(key, receipt.clone()) {
                    assert_eq!(receipt, other, "one key, two receipts");
                }
            }
        })
        .await;
    let receipts = receipts.into_inner().unwrap();
    assert_eq!(receipts.len(), count / 4 * 3);
    assert_log_matches(&databases, &receipts).await;
    // The lock of the head row serializes the writers. Without it they would conflict on positions and retry.
    for instance in &instances {
        assert!(!instance.log().contains("append.failed"), "{}", instance.log());
    }
}

#[tokio::test]
async fn a_client_that_disconnects_leaves_nothing_half_done() {
    let databases = Databases::create().await;
    let service = databases.command_api(NO_NATS).await;
    let mut keys = Vec::new();
    for round in 0_usize..100 {
        let key = Uuid::new_v4();
        let body = r#"{"license":"pro"}"#;
        let request = format!(
            "POST /api/buy_mpi HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
             idempotency-key: {key}\r\ncontent-length: {}\r\n\r\n{body}",
            body.len(),
        );
        let mut connection = TcpStream::connect(service.address()).await.unwrap();
        // Half of them disconnect after the request, the others within it.
        let sent = request.len() - round.saturating_sub(50);
        connection.write_all(&request.as_bytes()[..sent]).await.unwrap();
        drop(connection);
        keys.push(key);
    }
    // Repeating the request with its key tells the client the outcome. Either way the purchase exists once afterwards.
    let mut receipts = HashMap::new();
    for key in keys {
        let response = buy(&service, "pro", key).await.unwrap();
        assert_eq!(response.status(), 201);
        receipts.insert(key, response.json().await.unwrap());
    }
    assert_log_matches(&databases, &receipts).await;
}

#[tokio::test]
async fn a_commit_whose_response_is_lost_is_acknowledged_once() {
    let databases = Databases::create().await;
    let proxy = Proxy::start(testing::postgres().address()).await;
    let service = via(&databases, &proxy).await;
    let mut receipts = HashMap::new();
    for _ in 0..20 {
        let key = Uuid::new_v4();
        proxy.cut_before_reply(1);
        let response = buy(&service, "pro", key).await.unwrap();
        assert_eq!(response.status(), 201);
        receipts.insert(key, response.json().await.unwrap());
    }
    assert_log_matches(&databases, &receipts).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_vanishes_before_its_commit_keeps_the_log_locked_for_seconds_only() {
    let databases = Databases::create().await;
    let proxy = Proxy::start(testing::postgres().address()).await;
    let service = via(&databases, &proxy).await;
    service.buy("pro").await;
    proxy.fall_silent_before_sync();
    let (vanishing, other) = (Uuid::new_v4(), Uuid::new_v4());
    let response = buy(&service, "pro", vanishing).await.unwrap();
    assert!(!proxy.is_waiting_to_fall_silent());
    assert_eq!(response.status(), 201, "the service has repeated it on another connection");
    assert_eq!(buy(&service, "pro", other).await.unwrap().status(), 201);
    assert_eq!(databases.head().await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_cut_under_load_lose_and_duplicate_nothing() {
    let databases = Databases::create().await;
    let proxy = Proxy::start(testing::postgres().address()).await;
    let service = via(&databases, &proxy).await;
    let receipts = Mutex::new(HashMap::new());
    stream::iter(0..3000)
        .for_each_concurrent(32, |number| {
            let (receipts, proxy, service) = (&receipts, &proxy, &service);
            async move {
                if number % 100 == 99 {
                    proxy.cut();
                }
                let key = Uuid::new_v4();
                let response = buy(service, "basic", key).await.unwrap();
                assert_eq!(response.status(), 201);
                let receipt = response.json().await.unwrap();
                receipts.lock().unwrap().insert(key, receipt);
            }
        })
        .await;
    assert_log_matches(&databases, &receipts.into_inner().unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_killed_under_load_has_stored_every_acknowledged_purchase() {
    let databases = Databases::create().await;
    let service = databases.command_api(NO_NATS).await;
    let acknowledged = Mutex::new(HashMap::new());
    let buyers = (0..32).map(async |_| {
        loop {
            let key = Uuid::new_v4();
            let Ok(response) = buy(&service, "pro", key).await else { return key };
            let Ok(receipt) = response.json::<Value>().await else { return key };
            acknowledged.lock().unwrap().insert(key, receipt);
        }
    });
    let killing = async {
        eventually("enough purchases", async || acknowledged.lock().unwrap().len() > 500).await;
        service.signal(Signal::SIGKILL);
    };
    let (cut_off, ()) = tokio::join!(join_all(buyers), killing);

    // Clients without a response retry elsewhere with their keys.
    let successor = databases.command_api(NO_NATS).await;
    let mut receipts = acknowledged.into_inner().unwrap();
    for key in cut_off {
        receipts.insert(key, buy(&successor, "pro", key).await.unwrap().json().await.unwrap());
    }
    assert_log_matches(&databases, &receipts).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_sigterm_it_answers_requests_in_flight_and_exits_cleanly() {
    let databases = Databases::create().await;
    let service = databases.command_api(NO_NATS).await;
    let mut head = databases.event_store().begin().await.unwrap();
    sqlx::query("select from head for update").execute(&mut *head).await.unwrap();
    let stopping = async {
        let waits = "select pid from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";
        let waiting = async || values::<i32>(databases.event_store(), waits).await;
        eventually("the purchase waits for the head", async || !waiting().await.is_empty()).await;
        service.signal(Signal::SIGTERM);
        eventually("it is no longer ready", async || !service.is(Until::Ready).await).await;
        head.rollback().await.unwrap();
    };
    let (answer, ()) = tokio::join!(buy(&service, "pro", Uuid::new_v4()), stopping);
    assert_eq!(answer.unwrap().status(), 201);
    assert!(service.terminate().await.success());
    assert_eq!(databases.head().await, 1);
}

#[tokio::test]
async fn on_sigterm_it_does_not_wait_for_an_incomplete_request() {
    let databases = Databases::create().await;
    let service = databases.command_api(NO_NATS).await;
    let mut connection = TcpStream::connect(service.address()).await.unwrap();
    connection.write_all(b"POST /api/buy_mpi HTTP/1.1\r\n").await.unwrap();
    assert!(service.terminate().await.success());
}

#[tokio::test]
async fn a_purchase_before_the_first_connection_waits_for_it() {
    let databases = Databases::create().await;
    let (log, stop) = in_process_log(&databases);
    // The writer has not been polled yet.
    assert!(!log.is_available(), "the writer has connected too early for this test");
    let recorded = log.append(purchase()).await.unwrap();
    assert_eq!(recorded.position.get(), 1);
    stop.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_database_it_rejects_at_once_and_resumes_when_it_returns() {
    let mut postgres = own_postgres();
    let databases = Databases::create_in(&postgres).await;
    let service = databases.command_api(NO_NATS).await;
    service.buy("pro").await;

    postgres.stop();
    let cut_off = buy(&service, "pro", Uuid::new_v4()).await.unwrap();
    assert_eq!(cut_off.status(), 503);
    assert_eq!(cut_off.headers()["retry-after"], "1");
    assert_eq!(cut_off.headers()["content-type"], "application/problem+json");
    assert!(!service.is(Until::Ready).await, "it cannot do its job");
    assert!(service.is(Until::Live).await, "a restart would not help");
    assert_eq!(service.get("/startupz").await.status(), 200, "it had started");
    let another = databases.start("command-api", Until::Live, &[("NATS_URL", NO_NATS)]).await;
    assert_eq!(another.get("/startupz").await.status(), 503, "it has not");

    postgres.start();
    eventually("it is ready again", async || service.is(Until::Ready).await).await;
    let receipt = service.buy("pro").await;
    assert!(receipt["position"] == 2 || receipt["position"] == 3, "{receipt}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reachable_database_that_rejects_writes_counts_as_unavailable() {
    let databases = Databases::create().await;
    let service = databases.command_api(NO_NATS).await;
    databases.change_event_store("revoke execute on function append_events from command_api").await;
    assert_eq!(buy(&service, "pro", Uuid::new_v4()).await.unwrap().status(), 503);
    // Longer than the longest delay between two connection attempts.
    for _ in 0..100 {
        assert!(!service.is(Until::Ready).await, "it cannot do its job, however often it connects");
        sleep(Duration::from_millis(50)).await;
    }
    assert!(!service.log().contains("append.recovered"), "{}", service.log());

    databases.change_event_store("grant execute on function append_events to command_api").await;
    eventually("it is ready again", async || service.is(Until::Ready).await).await;
    assert_eq!(service.buy("pro").await["position"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_cause_of_a_lasting_outage_is_logged() {
    let databases = Databases::create().await;
    let service = databases.command_api(NO_NATS).await;
    service.buy("pro").await;
    let set = "do $$ begin execute format('alter database %I set default_transaction_read_only = on', current_database()); end $$";
    databases.change_event_store(set).await;
    let terminate = "select pg_terminate_backend(pid) from pg_stat_activity
                     where datname = current_database() and application_name = 'command-api'";
    databases.change_event_store(terminate).await;
    assert_eq!(buy(&service, "pro", Uuid::new_v4()).await.unwrap().status(), 503);
    let log = service.log();
    assert!(log.contains("read-only transaction"), "{log}");
    assert_eq!(log.matches("append.failed").count(), 2, "the lost connection, and once the refusal: {log}");

    let reset = "begin; set transaction read write;
                 do $$ begin execute format('alter database %I reset default_transaction_read_only', current_database()); end $$;
                 commit";
    databases.change_event_store(reset).await;
    eventually("it has recovered", async || service.log().contains("append.recovered")).await;
    assert_eq!(service.buy("pro").await["position"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_ahead_stops_purchases_with_an_alarm_instead_of_recording_its_time() {
    let databases = Databases::create().await;
    let service = databases.command_api(NO_NATS).await;
    service.buy("pro").await;
    // The same as a clock that has jumped ahead by 367 days.
    databases.tamper("update head set recorded_at = now() - interval '367 days'").await;
    assert_eq!(buy(&service, "pro", Uuid::new_v4()).await.unwrap().status(), 503);
    assert!(service.metric("sales_append_clock_refused").await > 0.5);
    assert!(!service.is(Until::Ready).await);
    assert!(service.log().contains("more than a year ahead of the last event"), "{}", service.log());
    assert_eq!(service.log().matches("append.failed").count(), 1, "{}", service.log());
    assert_eq!(databases.head().await, 1);
    // The clock was right, and nothing was sold for a year.
    databases.change_event_store("update head set recorded_at = now()").await;
    eventually("it is ready again", async || service.is(Until::Ready).await).await;
    assert_eq!(service.buy("pro").await["position"], 2);
    assert!(service.metric("sales_append_clock_refused").await < 0.5);
    assert!(service.metric("sales_append_clock_ahead_seconds").await < 60.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_whose_clock_is_behind_that_of_the_database_sells_nothing() {
    let databases = Databases::create().await;
    // The same as a service that calls with a time of six minutes ago.
    let delay = "alter function append_events rename to append_at;
                 create function append_events(uuid[], text[], smallint[], text[], text[], timestamptz)
                     returns table (stored_position bigint, stored_at timestamptz, stored_type text, stored_version smallint,
                         stored_data text)
                     language sql security definer
                     as 'select * from append_at($1, $2, $3, $4, $5, $6 - interval ''6 minutes'')';
                 grant execute on function append_events to command_api";
    databases.change_event_store(delay).await;
    let service = databases.command_api(NO_NATS).await;
    assert_eq!(buy(&service, "pro", Uuid::new_v4()).await.unwrap().status(), 503);
    assert!(service.metric("sales_append_clock_refused").await > 0.5);
    assert_eq!(databases.head().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_ends_in_the_future_is_continued_at_its_time_with_an_alarm() {
    let databases = Databases::create().await;
    databases.change_event_store("update head set recorded_at = '2999-01-01'").await;
    let service = databases.command_api(NO_NATS).await;
    assert!(service.metric("sales_append_clock_ahead_seconds").await > 86_400.0, "known before the first purchase");
    assert_eq!(service.buy("pro").await["purchased_at"], "2999-01-01T00:00:00Z");
    assert!(service.metric("sales_append_clock_ahead_seconds").await > 86_400.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_rejects_at_once_and_loses_nothing_that_it_accepted() {
    let databases = Databases::create().await;
    let (log, stop) = in_process_log(&databases);
    eventually("the writer is connected", async || log.is_available()).await;
    let mut head = databases.event_store().begin().await.unwrap();
    sqlx::query("select from head for update").execute(&mut *head).await.unwrap();

    let mut commands = JoinSet::new();
    for _ in 0..2 * QUEUE_CAPACITY {
        let log = log.clone();
        commands.spawn(async move { log.append(purchase()).await });
    }
    let mut refused = 0;
    while refused < QUEUE_CAPACITY / 2 {
        let answer = commands.join_next().await.unwrap().unwrap();
        assert!(matches!(answer, Err(AppendError::QueueFull)), "{answer:?}");
        refused += 1;
    }
    head.rollback().await.unwrap();
    let answers = commands.join_all().await;
    let stored = answers.iter().filter(|answer| answer.is_ok()).count();
    assert!(stored >= QUEUE_CAPACITY, "only {stored} were taken");
    assert_eq!(databases.head().await, i64::try_from(stored).unwrap());
    stop.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_purchase_is_acknowledged_while_the_relay_never_runs() {
    let databases = Databases::create().await;
    // Nothing takes events from the handoff buffer, as while NATS is unreachable.
    let (log, stop) = in_process_log(&databases);
    let purchases = 3 * handoff::CAPACITY;
    let answers: Vec<_> =
        stream::iter(0..purchases).map(|_| log.append(purchase())).buffer_unordered(MAX_BATCH).collect().await;
    let refused = answers.iter().filter(|answer| answer.is_err()).count();
    assert_eq!((refused, databases.head().await), (0, i64::try_from(purchases).unwrap()));
    stop.cancel();
}

fn purchase() -> NewEvent {
    NewEvent::new(EventId::generate(), decide(Command::Buy(License::Pro)), Metadata::default())
}

fn in_process_log(databases: &Databases) -> (WriterHandle, CancellationToken) {
    let options = database::options("EVENT_STORE_URL", &databases.event_store_url("command_api"), "test").unwrap();
    let metrics = writer::Metrics::register(&mut Registry::default());
    let (log, writer) = writer::new(options, Arc::default(), metrics);
    let stop = CancellationToken::new();
    tokio::spawn(writer.run(stop.clone()));
    (log, stop)
}
