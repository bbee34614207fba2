//! Whatever process, connection or event fails, and whenever: the totals equal the log.

use std::time::Duration;

use testing::{Databases, NO_NATS, Nats, Proxy, Until, eventually, purchased, values};

use crate::support::{assert_projected, hold_live, projected, readiness, restore_log};

#[tokio::test(flavor = "multi_thread")]
async fn jetstream_is_wiped_or_unreachable_during_purchases() {
    let (databases, mut nats) = (Databases::create().await, Nats::start());
    let command_api = databases.command_api(&nats.url("command-api")).await;
    let projectors =
        [databases.projector(&nats.url("projector")).await, databases.projector(&nats.url("projector")).await];
    for wipe in [false, true, true] {
        for _ in 0..20 {
            command_api.buy("pro").await;
        }
        nats.stop();
        if wipe {
            nats.wipe();
        }
        for _ in 0..20 {
            command_api.buy("basic").await;
        }
        assert_projected(&databases).await; // without NATS, from the event store
        nats.start_again();
        for _ in 0..20 {
            command_api.buy("enterprise").await;
        }
        assert_projected(&databases).await;
    }
    assert_eq!(databases.head().await, 180);
    for projector in &projectors {
        assert_eq!(readiness(projector).await.0, 200);
    }
}

/// Waits until a projector's write waits for the lock of the test, and returns the pid of its backend.
async fn blocked_backend(databases: &Databases) -> i32 {
    let select = "select pid from pg_stat_activity where datname = current_database() and usename = 'projector'
                  and wait_event_type = 'Lock'";
    let blocked = async || values::<i32>(databases.read_model(), select).await;
    eventually("the projector is about to commit", async || !blocked().await.is_empty()).await;
    blocked().await[0]
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_between_apply_and_commit_it_counts_each_event_once() {
    let databases = Databases::create().await;
    for backend_dies_too in [true, false] {
        let projector = databases.projector(NO_NATS).await;
        assert_projected(&databases).await;
        let mut lock = databases.read_model().begin().await.unwrap();
        sqlx::query("select from projection for update").execute(&mut *lock).await.unwrap();
        databases.append(&[purchased("pro", 19_900), purchased("basic", 4_900)]).await;
        let backend = blocked_backend(&databases).await;
        projector.kill();
        if backend_dies_too {
            // The transaction is rolled back: the events have to be counted by the next projector.
            sqlx::query("select pg_terminate_backend($1)").bind(backend).execute(databases.read_model()).await.unwrap();
        }
        // Otherwise it commits after its client is dead: the next projector must not count them again.
        lock.rollback().await.unwrap();
        let _next = databases.projector(NO_NATS).await;
        assert_projected(&databases).await;
    }
    assert_eq!(databases.count_read_model().await["pro"], (2, 39_800));
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_repeatedly_under_load_it_ends_with_the_right_totals() {
    let (databases, nats) = (Databases::create().await, Nats::start());
    let command_api = databases.command_api(&nats.url("command-api")).await;
    for round in 0..10 {
        let projector = databases.start("projector", Until::Live, &[("NATS_URL", &nats.url("projector"))]).await;
        for _ in 0..round * 5 {
            command_api.buy("pro").await;
        }
        projector.kill();
    }
    let _projector = databases.projector(&nats.url("projector")).await;
    assert_projected(&databases).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_event_halts_it_and_is_not_skipped() {
    let databases = Databases::create().await;
    let projector = databases.projector(NO_NATS).await;
    let unknown = ("LicenseRented", "{}".to_owned());
    databases.append_unchecked(&[purchased("pro", 19_900), unknown, purchased("pro", 19_900)]).await;
    eventually("it is not ready", async || readiness(&projector).await.0 == 503).await;
    let (_, reason) = readiness(&projector).await;
    assert!(reason.contains("position 2") && reason.contains("LicenseRented"), "{reason}");
    assert!((projector.metric("sales_projection_halted").await - 1.0).abs() < 0.5);
    assert_eq!(databases.checkpoint().await, 1, "earlier events are counted, later ones are not");
    assert!(projector.log().contains("projection.halted"), "{}", projector.log());
    assert!(projector.is(Until::Live).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreachable_database_is_logged_and_does_not_end_the_alarm_of_a_halt() {
    let databases = Databases::create().await;
    let proxy = Proxy::start(testing::postgres().address()).await;
    let read_model = databases.read_model_url_via("projector", proxy.address());
    let settings = [("NATS_URL", NO_NATS), ("READ_MODEL_URL", &*read_model)];
    let projector = databases.start("projector", Until::Ready, &settings).await;
    databases.append_unchecked(&[("LicenseRented", "{}".to_owned())]).await;
    let halted = async || projector.metric("sales_projection_halted").await > 0.5;
    eventually("it halts", async || halted().await).await;
    proxy.refuse(true);
    proxy.cut();
    for waiting in ["projection.waiting", "reconciliation.waiting"] {
        eventually(waiting, async || projector.log().contains(waiting)).await;
    }
    assert!(halted().await, "the alarm stays");
}

#[tokio::test(flavor = "multi_thread")]
async fn why_there_is_no_stream_to_consume_is_logged() {
    let (databases, nats) = (Databases::create().await, Nats::start());
    let projector = databases.projector(&nats.url("projector")).await;
    eventually("it reports the reason", async || projector.log().contains("stream not found")).await;
    let _command_api = databases.command_api(&nats.url("command-api")).await;
    eventually("it consumes the stream", async || projector.log().contains("stream.recovered")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_it_is_halted_purchases_and_queries_continue_and_it_resumes_after_a_repair() {
    let databases = Databases::create().await;
    let projector = databases.projector(NO_NATS).await;
    let command_api = databases.command_api(NO_NATS).await;
    let query_api = databases.query_api().await;
    command_api.buy("pro").await;
    assert_projected(&databases).await;
    for broken in [
        ("LicensePurchased", r#"{"license":"gold","price":{"amount_minor":1,"currency":"EUR"}}"#.to_owned()),
        purchased("pro", i64::MAX),
    ] {
        let counted = databases.count_read_model().await;
        let poisoned = databases.append_unchecked(&[broken]).await;
        eventually("it names the position", async || {
            readiness(&projector).await.1.contains(&format!("position {poisoned}"))
        })
        .await;
        command_api.buy("basic").await;
        let asked = query_api.get("/api/get_current_money").await;
        assert_eq!(asked.status(), 200);
        assert_eq!(databases.count_read_model().await, counted, "later events are not counted");

        repair(&databases, poisoned).await;
        eventually("it runs again", async || readiness(&projector).await.0 == 200).await;
        assert_projected(&databases).await;
        databases.rebuild().await;
        assert_projected(&databases).await;
    }
    assert_eq!(databases.count_read_model().await["basic"].0, 4);
}

/// Replaces the event by one that this version can apply, instead of upgrading the projector.
async fn repair(databases: &Databases, position: i64) {
    let (_, data) = purchased("basic", 4_900);
    databases.tamper(&format!("update event set data = '{data}' where position = {position}")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_cannot_be_read_halts_it() {
    for change in [
        "recorded_at = 'infinity'",
        r#"metadata = '{"actor":{"subject":"s","role":"king"}}'"#,
        // Postgres takes it for JSON, and refuses it as a text.
        r#"event_type = 'SalesReset', schema_version = 2, data = '{"reason":"\u0000"}'"#,
    ] {
        let databases = Databases::create().await;
        databases.append(&vec![purchased("pro", 19_900); 3]).await;
        databases.tamper(&format!("update event set {change} where position = 2")).await;
        let projector = databases.start("projector", Until::Live, &[("NATS_URL", NO_NATS)]).await;
        eventually("it halts", async || projector.metric("sales_projection_halted").await > 0.5).await;
        assert_eq!(readiness(&projector).await.0, 503, "{change}");
        assert!(databases.checkpoint().await < 2, "{change}");
        assert!(projector.is(Until::Live).await, "{change}: {}", projector.log());
        let (_, reason) = readiness(&projector).await;
        assert!(reason.contains("position 2"), "{change}: {reason}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gap_in_the_log_halts_it() {
    let databases = Databases::create().await;
    databases.append(&vec![purchased("pro", 19_900); 3]).await;
    databases.tamper("delete from event where position = 2").await;
    let projector = databases.start("projector", Until::Live, &[("NATS_URL", NO_NATS)]).await;
    eventually("it reports the gap", async || readiness(&projector).await.1.contains("position 2 is missing")).await;
    assert!((projector.metric("sales_projection_halted").await - 1.0).abs() < 0.5);
    assert_eq!(databases.checkpoint().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_restored_from_a_backup_halts_it_until_a_rebuild() {
    let databases = Databases::create().await;
    let projector = databases.projector(NO_NATS).await;
    databases.append(&vec![purchased("pro", 19_900); 3]).await;
    assert_projected(&databases).await;
    restore_log(&databases, 2).await;
    eventually("it reports the truncated log", async || readiness(&projector).await.1.contains("ends at position 2"))
        .await;
    assert!((projector.metric("sales_projection_halted").await - 1.0).abs() < 0.5);
    databases.rebuild().await;
    assert_projected(&databases).await;
    databases.append(&[purchased("basic", 4_900)]).await;
    assert_projected(&databases).await;
    eventually("it runs again", async || readiness(&projector).await.0 == 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_truncated_log_that_has_grown_past_the_position_halts_it_until_a_rebuild() {
    // Read models from before event ids were stored have the time alone.
    for (id_is_stored, runs) in [(true, true), (true, false), (false, false)] {
        let databases = Databases::create().await;
        let mut running = Some(databases.projector(NO_NATS).await);
        databases.append(&vec![purchased("pro", 19_900); 20]).await;
        assert_projected(&databases).await;
        if !runs {
            running.take().unwrap().kill();
        }
        if !id_is_stored {
            databases.change_read_model("update projection set event_id = null").await;
        }
        restore_log(&databases, 15).await;
        if let Some(projector) = &running {
            eventually("it halts", async || readiness(projector).await.1.contains("ends at position 15")).await;
        }
        databases.append(&vec![purchased("basic", 4_900); 10]).await;
        let projector = match running {
            Some(projector) => projector,
            None => databases.start("projector", Until::Live, &[("NATS_URL", NO_NATS)]).await,
        };
        let reason = "the event at position 20 is not the one that had been read";
        eventually("it reports the extended log", async || readiness(&projector).await.1.contains(reason)).await;
        eventually("the totals count as different", async || {
            projector.metric("sales_reconciliation_difference").await > 0.5
        })
        .await;
        assert!(projector.metric("sales_projection_halted").await > 0.5);
        assert!(!projector.log().contains("projection.recovered"), "{}", projector.log());
        assert_eq!(databases.checkpoint().await, 20, "no event is counted");
        databases.rebuild().await;
        assert_projected(&databases).await;
        databases.append(&[purchased("pro", 19_900)]).await;
        assert_projected(&databases).await;
        eventually("it runs again", async || readiness(&projector).await.0 == 200).await;
        eventually("the totals are equal", async || projector.metric("sales_reconciliation_difference").await < 0.5)
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn on_sigterm_it_exits_successfully_and_soon() {
    let databases = Databases::create().await;
    let projector = databases.projector(NO_NATS).await;
    let status = tokio::time::timeout(Duration::from_secs(10), projector.terminate()).await.unwrap();
    assert!(status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn newest_purchases_that_another_release_did_not_continue_are_replaced() {
    let databases = projected().await;
    // As a projector of the release before would leave them that counts a purchase more.
    databases.change_read_model("update latest_purchases set purchase_count = purchase_count - 1").await;
    databases.append(&vec![purchased("basic", 4_900); 2]).await;
    let _projector = databases.projector(NO_NATS).await;
    let head = databases.head().await;
    eventually("it is projected", async || databases.checkpoint().await == head).await;
    let newest: Vec<_> = databases.latest_of_log().await.into_iter().take(2).collect();
    assert_eq!(databases.latest_of_read_model().await, newest);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lag_grows_while_a_step_waits() {
    let databases = projected().await;
    let projector = databases.projector(NO_NATS).await;
    let hold = hold_live(&databases).await;
    databases.append(&[purchased("pro", 19_900)]).await;
    let waiting = async || -> Vec<String> {
        let select = "select query_start::text from pg_stat_activity where datname = current_database()
                      and application_name = 'projector' and wait_event_type = 'Lock' and query like '%update projection%'";
        values(databases.read_model(), select).await
    };
    eventually("it waits for the lock", async || !waiting().await.is_empty()).await;
    let statement = waiting().await;
    eventually("the lag grows", async || projector.metric("sales_projection_lag_seconds").await > 2.0).await;
    assert_eq!(waiting().await, statement, "during the same statement");
    drop(hold);
}
