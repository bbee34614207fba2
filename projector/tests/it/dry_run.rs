//! `projector rebuild --dry-run`.

use testing::{Databases, NO_NATS, purchased, reset, values};

use crate::support::{append_some, assert_projected, change_a_total, generations, projected, restore_log};

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_reports_that_both_are_equal_and_changes_nothing() {
    let databases = Databases::create().await;
    let _projector = databases.projector(NO_NATS).await;
    append_some(&databases).await;
    assert_projected(&databases).await;
    let before = generations(&databases).await;
    let ended = databases.start_rebuild(&["--dry-run"]).ended().await;
    assert!(ended.success && ended.log.contains("compared_with_old=Same"), "{}", ended.log);
    assert_eq!(generations(&databases).await, before);
    append_some(&databases).await;
    assert_projected(&databases).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_reports_differences_and_fails() {
    let databases = projected().await;
    change_a_total(&databases).await;
    let (before, tampered) = (generations(&databases).await, databases.count_read_model().await);
    let ended = databases.start_rebuild(&["--dry-run"]).ended().await;
    assert!(!ended.success, "{}", ended.log);
    let head = databases.head().await;
    for expected in [
        &format!("the live read model differs from the log at position {head}"),
        "Of pro, the live read model has 701 sold for EUR 139299.99, the rebuilt one 700 sold for EUR 139300.00",
        r#"license="pro" live.sales_count=701 live.revenue_minor=13929999"#,
        "rebuilt.sales_count=700 rebuilt.revenue_minor=13930000",
    ] {
        assert!(ended.log.contains(expected), "{expected} is missing in\n{}", ended.log);
    }
    assert!(!ended.log.contains("Of basic") && !ended.log.contains("Of enterprise"), "{}", ended.log);
    assert_eq!(generations(&databases).await, before);
    assert_eq!(databases.count_read_model().await, tampered);
}

/// A dry run and a rebuild report the difference. The rebuild corrects it.
async fn assert_detected(databases: &Databases, difference: &str) {
    for (options, succeeds) in [(&["--dry-run"][..], false), (&[], true)] {
        let ended = databases.start_rebuild(options).ended().await;
        assert!(ended.success == succeeds && ended.log.contains(difference), "{difference}: {}", ended.log);
    }
    assert_projected(databases).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_and_a_rebuild_detect_a_different_history() {
    let databases = Databases::create().await;
    databases.append_at("2026-03-29 01:00:59+00", &[purchased("pro", 1), purchased("basic", 2)]).await;
    databases.append_at("2026-03-29 01:30:00+00", &[reset(), purchased("pro", 1)]).await;
    append_some(&databases).await;
    let projector = databases.projector(NO_NATS).await;
    assert_projected(&databases).await;
    drop(projector);
    for (tamper, entries, first_at) in [
        (
            "update history_bucket set sales_count = 3 where begins_at < '2026-03-30' and license = 'basic'",
            4,
            "01:00:00",
        ),
        ("delete from history_bucket where begins_at = '2026-03-29 01:30+00' and minutes = 15", 1, "01:30:00"),
        ("update history_reset set reason = 'none' where position = 3", 2, "01:30:00"),
    ] {
        databases.change_read_model(tamper).await;
        let expected = format!("entries={entries} first_at=2026-03-29 {first_at} UTC");
        assert_detected(&databases, &expected).await;
    }
    // The current minute and quarter of an hour are compared when both generations are locked.
    databases.change_read_model("update history_bucket set revenue_minor = 0 where begins_at > '2026-03-30'").await;
    let ended = databases.start_rebuild(&[]).ended().await;
    assert!(ended.success && ended.log.contains("The histories differ"), "{}", ended.log);
    assert_projected(&databases).await;
    let select =
        "select generation from history_bucket where generation <> (select generation from projection where live)";
    let left: Vec<i64> = values(databases.read_model(), select).await;
    assert!(left.is_empty(), "the histories of the other generations are removed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_and_a_rebuild_detect_different_newest_purchases() {
    let databases = projected().await;
    for (tamper, entries) in [
        ("update latest_purchases set amounts_minor[42] = amounts_minor[42] + 1", 2),
        (
            "update latest_purchases set positions = positions[:99], purchased_at = purchased_at[:99],
                 licenses = licenses[:99], amounts_minor = amounts_minor[:99], currencies = currencies[:99]",
            1,
        ),
        ("update projection set purchase_count = purchase_count + 1 where live", 200),
    ] {
        databases.change_read_model(tamper).await;
        let expected = format!("The newest purchases differ: rows that only one of the lists has entries={entries}");
        assert_detected(&databases, &expected).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_model_beyond_the_end_of_the_log_differs() {
    let databases = projected().await;
    let live = databases.head().await;
    restore_log(&databases, live - 1).await;
    let ended = databases.start_rebuild(&["--dry-run"]).ended().await;
    assert!(!ended.success, "{}", ended.log);
    let expected = format!("live.position={live} rebuilt.position={}", live - 1);
    assert!(ended.log.contains(&expected), "{}", ended.log);
    assert_eq!(databases.checkpoint().await, live);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_model_that_is_behind_is_compared_at_its_position() {
    let databases = projected().await;
    let live = databases.checkpoint().await;
    append_some(&databases).await;
    let ended = databases.start_rebuild(&["--dry-run"]).ended().await;
    assert!(ended.success && ended.log.contains(&format!("position={live} ")), "{}", ended.log);
}
