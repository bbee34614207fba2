//! The read model can be rebuilt at any time.

use projector::rebuild::Options;
use sqlx::{AssertSqlSafe, PgPool};
use testing::{Databases, eventually, purchased};

use crate::support::{
    NO_NATS, append_some, assert_projected, generations, hold_live, projector, rebuild, start_rebuild,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuilt_read_model_is_the_same_and_is_updated_further() {
    let databases = Databases::create().await;
    let _projector = projector(&databases, NO_NATS).await;
    append_some(&databases).await;
    assert_projected(&databases).await;
    let (before, old) = (databases.count_read_model().await, generations(&databases).await.0);
    rebuild(&databases).await;
    assert_ne!(generations(&databases).await.0, old);
    assert_eq!(databases.count_read_model().await, before);
    append_some(&databases).await;
    assert_projected(&databases).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_while_events_arrive_loses_none() {
    let databases = Databases::create().await;
    let _projector = projector(&databases, NO_NATS).await;
    append_some(&databases).await;
    let appending = async {
        for round in 0..100 {
            databases.append(&vec![purchased("basic", round); 10]).await;
        }
    };
    let rebuilding = async {
        for _ in 0..3 {
            rebuild(&databases).await;
        }
    };
    tokio::join!(appending, rebuilding);
    assert_projected(&databases).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_corrects_a_tampered_read_model() {
    let databases = Databases::create().await;
    append_some(&databases).await;
    let projector = projector(&databases, NO_NATS).await;
    assert_projected(&databases).await;
    drop(projector);
    sqlx::raw_sql("update license_total set revenue_minor = revenue_minor + 1")
        .execute(databases.read_model())
        .await
        .unwrap();
    assert_ne!(databases.count_read_model().await, databases.count_log().await);
    rebuild(&databases).await;
    assert_projected(&databases).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_waits_for_a_live_read_model_that_is_behind_and_compares_it() {
    let databases = Databases::create().await;
    let _projector = projector(&databases, NO_NATS).await;
    append_some(&databases).await;
    assert_projected(&databases).await;
    let hold = hold_live(&databases).await;
    append_some(&databases).await;
    let head = databases.head().await;
    let rebuild = start_rebuild(&databases, &[]);
    let built = || {
        sqlx::query_scalar::<_, i64>("select coalesce(max(position), 0) from projection where not live")
            .fetch_one(databases.read_model())
    };
    eventually("the new generation is complete", async || built().await.unwrap() == head).await;
    hold.rollback().await.unwrap();
    let ended = rebuild.ended().await;
    assert!(ended.success && ended.log.contains("compared_with_old=Same"), "{}", ended.log);
    assert_projected(&databases).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_read_model_that_does_not_advance_is_replaced_without_a_comparison() {
    let databases = Databases::create().await;
    append_some(&databases).await;
    let ended = start_rebuild(&databases, &[]).ended().await;
    assert!(ended.success && ended.log.contains("compared_with_old=LiveWasBehind"), "{}", ended.log);
    assert_projected(&databases).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_with_a_gap_or_without_its_end_is_rejected() {
    let databases = Databases::create().await;
    append_some(&databases).await;
    let projector = projector(&databases, NO_NATS).await;
    assert_projected(&databases).await;
    drop(projector);
    let event_store = PgPool::connect(&databases.event_store_url("projector")).await.unwrap();
    let read_model = PgPool::connect(&databases.read_model_url("projector")).await.unwrap();
    let (head, live) = (databases.head().await, generations(&databases).await.0);
    for (missing, complaint) in [(head, format!("ends at position {}", head - 1)), (3, "position 3 is missing".into())]
    {
        sqlx::raw_sql(AssertSqlSafe(format!(
            "alter table event disable trigger all; delete from event where position = {missing}"
        )))
        .execute(databases.event_store())
        .await
        .unwrap();
        let refused = projector::rebuild::rebuild(&event_store, &read_model, Options::default()).await.unwrap_err();
        assert!(refused.to_string().contains(&complaint), "{refused:#}");
        assert_eq!(generations(&databases).await.0, live);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_interrupted_rebuild_is_discarded() {
    let databases = Databases::create().await;
    append_some(&databases).await;
    sqlx::raw_sql(
        "insert into projection (live, position) values (false, 5);
         insert into license_total select generation, 'pro', 99, 99, 'EUR' from projection where not live",
    )
    .execute(databases.read_model())
    .await
    .unwrap();
    let _projector = projector(&databases, NO_NATS).await;
    assert_projected(&databases).await;
    rebuild(&databases).await;
    assert_projected(&databases).await;
    assert_eq!(generations(&databases).await.1, None);
}
