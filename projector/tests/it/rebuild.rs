//! The read model can be rebuilt at any time.

use projector::rebuild::Options;
use sqlx::PgPool;
use testing::{Databases, NO_NATS, eventually, purchased, values};

use crate::support::{append_some, assert_projected, generations, hold_live, projected};

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuilt_read_model_is_the_same_and_is_updated_further() {
    let databases = Databases::create().await;
    let _projector = databases.projector(NO_NATS).await;
    append_some(&databases).await;
    assert_projected(&databases).await;
    let (before, old) = (databases.count_read_model().await, generations(&databases).await.0);
    databases.rebuild().await;
    assert_ne!(generations(&databases).await.0, old);
    assert_eq!(databases.count_read_model().await, before);
    append_some(&databases).await;
    assert_projected(&databases).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_while_events_arrive_loses_none() {
    let databases = Databases::create().await;
    let _projector = databases.projector(NO_NATS).await;
    append_some(&databases).await;
    let appending = async {
        for round in 0..100 {
            databases.append(&vec![purchased("basic", round); 10]).await;
        }
    };
    let rebuilding = async {
        for _ in 0..3 {
            databases.rebuild().await;
        }
    };
    tokio::join!(appending, rebuilding);
    assert_projected(&databases).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_corrects_a_tampered_read_model() {
    let databases = projected().await;
    databases.change_read_model("update license_total set revenue_minor = revenue_minor + 1").await;
    assert_ne!(databases.count_read_model().await, databases.count_log().await);
    databases.rebuild().await;
    assert_projected(&databases).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_waits_for_a_live_read_model_that_is_behind_and_compares_it() {
    let databases = Databases::create().await;
    let _projector = databases.projector(NO_NATS).await;
    append_some(&databases).await;
    assert_projected(&databases).await;
    let hold = hold_live(&databases).await;
    append_some(&databases).await;
    let head = databases.head().await;
    let rebuild = databases.start_rebuild(&[]);
    let select = "select position from projection where not live";
    let built = async || values::<i64>(databases.read_model(), select).await == [head];
    eventually("the new generation is complete", built).await;
    hold.rollback().await.unwrap();
    let ended = rebuild.ended().await;
    assert!(ended.success && ended.log.contains("compared_with_old=Same"), "{}", ended.log);
    assert_projected(&databases).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_read_model_that_does_not_advance_is_replaced_without_a_comparison() {
    let databases = Databases::create().await;
    append_some(&databases).await;
    let ended = databases.start_rebuild(&[]).ended().await;
    assert!(ended.success && ended.log.contains("compared_with_old=LiveWasBehind"), "{}", ended.log);
    assert_projected(&databases).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_with_a_gap_or_without_its_end_is_rejected() {
    let databases = projected().await;
    let event_store = PgPool::connect(&databases.event_store_url("projector")).await.unwrap();
    let read_model = PgPool::connect(&databases.read_model_url("projector")).await.unwrap();
    let (head, live) = (databases.head().await, generations(&databases).await.0);
    for (missing, complaint) in [(head, format!("ends at position {}", head - 1)), (3, "position 3 is missing".into())]
    {
        databases.tamper(&format!("delete from event where position = {missing}")).await;
        let refused = projector::rebuild::rebuild(&event_store, &read_model, Options::default()).await.unwrap_err();
        assert!(refused.to_string().contains(&complaint), "{refused:#}");
        assert_eq!(generations(&databases).await.0, live);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_interrupted_rebuild_is_discarded() {
    let databases = Databases::create().await;
    append_some(&databases).await;
    databases
        .change_read_model(
            "insert into projection (live, position) values (false, 5);
         insert into license_total select generation, 'pro', 99, 99, 'EUR' from projection where not live",
        )
        .await;
    let _projector = databases.projector(NO_NATS).await;
    assert_projected(&databases).await;
    databases.rebuild().await;
    assert_projected(&databases).await;
    assert_eq!(generations(&databases).await.1, None);
}
