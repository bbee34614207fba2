//! `projector rebuild --dry-run`.

use testing::{Databases, purchased, reset};

use crate::support::{
    NO_NATS, append_some, assert_projected, generations, projector, restore_log, start_rebuild, tamper,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_reports_that_both_are_equal_and_changes_nothing() {
    let databases = Databases::create().await;
    let _projector = projector(&databases, NO_NATS).await;
    append_some(&databases).await;
    assert_projected(&databases).await;
    let before = generations(&databases).await;
    let ended = start_rebuild(&databases, &["--dry-run"]).ended().await;
    assert!(ended.success && ended.log.contains("compared_with_old=Same"), "{}", ended.log);
    assert_eq!(generations(&databases).await, before);
    append_some(&databases).await;
    assert_projected(&databases).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_reports_differences_and_fails() {
    let databases = Databases::create().await;
    append_some(&databases).await;
    let projector = projector(&databases, NO_NATS).await;
    assert_projected(&databases).await;
    drop(projector);
    tamper(&databases).await;
    let (before, tampered) = (generations(&databases).await, databases.count_read_model().await);
    let ended = start_rebuild(&databases, &["--dry-run"]).ended().await;
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

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_and_a_rebuild_detect_a_different_history() {
    let databases = Databases::create().await;
    databases.append_at("2026-03-29 01:00:59+00", &[purchased("pro", 1), purchased("basic", 2)]).await;
    databases.append_at("2026-03-29 01:30:00+00", &[reset(), purchased("pro", 1)]).await;
    append_some(&databases).await;
    let projector = projector(&databases, NO_NATS).await;
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
        sqlx::raw_sql(tamper).execute(databases.read_model()).await.unwrap();
        let expected = format!("entries={entries} first_at=2026-03-29 {first_at} UTC");
        let ended = start_rebuild(&databases, &["--dry-run"]).ended().await;
        assert!(!ended.success && ended.log.contains(&expected), "{expected}: {}", ended.log);
        let ended = start_rebuild(&databases, &[]).ended().await;
        assert!(ended.success && ended.log.contains(&expected), "{expected}: {}", ended.log);
        assert_projected(&databases).await;
    }
    // The current minute and quarter of an hour are compared when both generations are locked.
    sqlx::raw_sql("update history_bucket set revenue_minor = 0 where begins_at > '2026-03-30'")
        .execute(databases.read_model())
        .await
        .unwrap();
    let ended = start_rebuild(&databases, &[]).ended().await;
    assert!(ended.success && ended.log.contains("The histories differ"), "{}", ended.log);
    assert_projected(&databases).await;
    let left: i64 = sqlx::query_scalar(
        "select count(*) from history_bucket where generation <> (select generation from projection where live)",
    )
    .fetch_one(databases.read_model())
    .await
    .unwrap();
    assert_eq!(left, 0, "the histories of the other generations are removed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_and_a_rebuild_detect_different_newest_purchases() {
    let databases = Databases::create().await;
    append_some(&databases).await;
    let projector = projector(&databases, NO_NATS).await;
    assert_projected(&databases).await;
    drop(projector);
    for (tamper, entries) in [
        ("update latest_purchase set amount_minor = amount_minor + 1 where slot = 42", 2),
        ("delete from latest_purchase where slot = 7", 1),
        ("update projection set purchase_count = purchase_count + 1 where live", 200),
    ] {
        sqlx::raw_sql(tamper).execute(databases.read_model()).await.unwrap();
        let expected = format!("The newest purchases differ: rows that only one of the lists has entries={entries}");
        let ended = start_rebuild(&databases, &["--dry-run"]).ended().await;
        assert!(!ended.success && ended.log.contains(&expected), "{expected}: {}", ended.log);
        let ended = start_rebuild(&databases, &[]).ended().await;
        assert!(ended.success && ended.log.contains(&expected), "{expected}: {}", ended.log);
        assert_projected(&databases).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_model_beyond_the_end_of_the_log_differs() {
    let databases = Databases::create().await;
    append_some(&databases).await;
    let projector = projector(&databases, NO_NATS).await;
    assert_projected(&databases).await;
    drop(projector);
    let live = databases.head().await;
    restore_log(&databases, live - 1).await;
    let ended = start_rebuild(&databases, &["--dry-run"]).ended().await;
    assert!(!ended.success, "{}", ended.log);
    let expected = format!("live.position={live} rebuilt.position={}", live - 1);
    assert!(ended.log.contains(&expected), "{}", ended.log);
    assert_eq!(databases.checkpoint().await, live);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_model_that_is_behind_is_compared_at_its_position() {
    let databases = Databases::create().await;
    append_some(&databases).await;
    let projector = projector(&databases, NO_NATS).await;
    assert_projected(&databases).await;
    drop(projector);
    let live = databases.checkpoint().await;
    append_some(&databases).await;
    let ended = start_rebuild(&databases, &["--dry-run"]).ended().await;
    assert!(ended.success && ended.log.contains(&format!("position={live} ")), "{}", ended.log);
}
