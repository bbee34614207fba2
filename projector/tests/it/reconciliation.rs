//! The live totals are compared with the log continuously.

use contract::totals::SNAPSHOT_INTERVAL;
use testing::{Databases, NO_NATS, Service, Until, eventually, purchased, reset};

use crate::support::{append_some, assert_projected, change_a_total, projected, readiness, restore_log};

const POSITION: &str = "sales_reconciliation_position";
const DIFFERENCE: &str = "sales_reconciliation_difference";
const COMPARISONS: &str = "sales_reconciliation_comparisons_total";
const ALARM: &str = "reconciliation.difference";

async fn metric_is(projector: &Service, name: &str, expected: i64) -> bool {
    (projector.metric(name).await - f64::from(i32::try_from(expected).unwrap())).abs() < 0.5
}

/// Waits until the end of the log is reconciled.
async fn reconciled(databases: &Databases, projector: &Service) {
    let head = databases.head().await;
    eventually("it is reconciled", async || metric_is(projector, POSITION, head).await).await;
    assert!(metric_is(projector, DIFFERENCE, 0).await, "{}", projector.log());
}

/// Databases with some thousand events, and a projector that has reconciled them.
async fn reconciled_log() -> (Databases, Service) {
    let databases = Databases::create().await;
    append_some(&databases).await;
    let projector = databases.projector(NO_NATS).await;
    assert_projected(&databases).await;
    reconciled(&databases, &projector).await;
    (databases, projector)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tampered_total_is_reported_once_with_its_position_until_a_rebuild_corrects_it() {
    let (databases, projector) = reconciled_log().await;
    change_a_total(&databases).await;
    eventually("it is noticed", async || metric_is(&projector, DIFFERENCE, 1).await).await;
    let noticed = projector.metric(COMPARISONS).await;
    eventually("it is compared again", async || projector.metric(COMPARISONS).await > noticed).await;
    let (log, head) = (projector.log(), databases.head().await);
    assert_eq!(log.matches(ALARM).count(), 1, "{log}");
    let alarm = log.lines().find(|line| line.contains(ALARM)).unwrap();
    for expected in [
        &format!("position={head} "),
        "ERROR",
        "live=basic: 0 sold for EUR 0.00, pro: 701 sold for EUR 139299.99, enterprise: 1 sold for EUR 999.00",
        "expected=basic: 0 sold for EUR 0.00, pro: 700 sold for EUR 139300.00, enterprise: 1 sold for EUR 999.00",
    ] {
        assert!(alarm.contains(expected), "{expected} is missing in {alarm}");
    }
    assert_eq!(readiness(&projector).await.0, 200, "queries continue");
    databases.rebuild().await;
    eventually("it is corrected", async || metric_is(&projector, DIFFERENCE, 0).await).await;
    assert!(projector.log().contains("reconciliation.recovered"), "{}", projector.log());
    append_some(&databases).await;
    reconciled(&databases, &projector).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_a_reset_nor_a_restart_ends_the_alarm_of_a_wrong_history_but_a_rebuild_does() {
    for tamper in [
        "update history_bucket set sales_count = sales_count + 1 where minutes = 15 and license = 'pro'",
        "update totals_snapshot set sales_count = sales_count + 1 where license = 'pro'",
    ] {
        let databases = Databases::create().await;
        for _ in 0..=SNAPSHOT_INTERVAL / 1000 {
            databases.append_at("2026-03-29 01:00:00+00", &vec![purchased("pro", 1); 1000]).await;
        }
        let projector = databases.projector(NO_NATS).await;
        assert_projected(&databases).await;
        drop(projector);
        assert_eq!(sqlx::query(tamper).execute(databases.read_model()).await.unwrap().rows_affected(), 1);
        let head = databases.append(&[reset()]).await;
        let projector = databases.projector(NO_NATS).await;
        eventually("the totals are equal", async || metric_is(&projector, POSITION, head).await).await;
        eventually("the history differs", async || metric_is(&projector, DIFFERENCE, 1).await).await;
        assert!(projector.log().contains("history_differs=true"), "{}", projector.log());
        databases.rebuild().await;
        eventually("it is corrected", async || metric_is(&projector, DIFFERENCE, 0).await).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_ends_before_the_live_position_is_reported_until_a_rebuild() {
    let (databases, projector) = reconciled_log().await;
    restore_log(&databases, databases.head().await - 1).await;
    eventually("it is noticed", async || metric_is(&projector, DIFFERENCE, 1).await).await;
    assert!(projector.log().contains("reconciliation.failed"), "{}", projector.log());
    databases.rebuild().await;
    // To a smaller position than before, from the start of the log.
    reconciled(&databases, &projector).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_was_truncated_and_extended_is_not_mistaken_for_the_earlier_one() {
    let (databases, projector) = reconciled_log().await;
    let counted = databases.head().await;
    restore_log(&databases, counted - 1).await;
    eventually("it is noticed", async || metric_is(&projector, DIFFERENCE, 1).await).await;
    databases.append(&vec![purchased("basic", 7); 2]).await;
    let reason = format!("the event at position {counted} is not the one that had been read");
    let failed = |line: &str| line.contains("reconciliation.failed") && line.contains(&reason);
    eventually("the other event is noticed", async || projector.log().lines().any(failed)).await;
    assert!(metric_is(&projector, DIFFERENCE, 1).await, "{}", projector.log());
    assert!(!projector.log().contains("reconciliation.recovered"), "{}", projector.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_is_unknown_or_missing_is_reported() {
    for spoil in
        ["update event set event_type = 'LicenseRented' where position = 2", "delete from event where position = 2"]
    {
        let databases = projected().await;
        databases.tamper(spoil).await;
        let projector = databases.projector(NO_NATS).await;
        eventually("it is noticed", async || metric_is(&projector, DIFFERENCE, 1).await).await;
        let log = projector.log();
        assert!(log.contains("reconciliation.failed") && log.contains("position 2 "), "{log}");
        assert!(metric_is(&projector, POSITION, 0).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreachable_event_store_is_retried() {
    let databases = Databases::create().await;
    append_some(&databases).await;
    databases.change_event_store("revoke select on event from projector").await;
    let projector = databases.start("projector", Until::Live, &[("NATS_URL", NO_NATS)]).await;
    eventually("the projection waits", async || readiness(&projector).await.1.contains("permission denied")).await;
    assert!(metric_is(&projector, DIFFERENCE, 0).await);
    databases.change_event_store("grant select on event to projector").await;
    assert_projected(&databases).await;
    reconciled(&databases, &projector).await;
}
