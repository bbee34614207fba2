//! A read model from before there was a history.

use testing::{Databases, eventually, purchased};

use crate::support::{NO_NATS, append_some, assert_projected, generations, projector};

/// Makes the live generation one that a version without a history has counted.
async fn without_history(databases: &Databases) {
    sqlx::raw_sql(
        "update projection set history_position = null, projection_version = 1; delete from history_bucket; delete from history_reset",
    )
    .execute(databases.read_model())
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn it_gets_one_by_itself() {
    let databases = Databases::create().await;
    let earlier = projector(&databases, NO_NATS).await;
    append_some(&databases).await;
    assert_projected(&databases).await;
    drop(earlier);
    without_history(&databases).await;
    let (old, _) = generations(&databases).await;
    append_some(&databases).await;
    // Both find it, and one of them builds it anew.
    let (_first, _second) = (projector(&databases, NO_NATS).await, projector(&databases, NO_NATS).await);
    eventually("it is replaced", async || generations(&databases).await.0 != old).await;
    databases.append(&[purchased("pro", 1)]).await;
    assert_projected(&databases).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_projector_without_a_history_cannot_go_on_with_one_that_has_it() {
    let databases = Databases::create().await;
    let _projector = projector(&databases, NO_NATS).await;
    append_some(&databases).await;
    assert_projected(&databases).await;
    // Its statement, as it was.
    let error = sqlx::raw_sql("update projection set position = position + 1, as_of = now() where live")
        .execute(databases.read_model())
        .await
        .unwrap_err();
    let constraint = error.as_database_error().and_then(|error| error.constraint());
    assert_eq!(constraint, Some("projection_history_is_complete"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_history_that_lacks_its_beginning_does_not_become_complete_by_going_on() {
    let databases = Databases::create().await;
    let _projector = projector(&databases, NO_NATS).await;
    append_some(&databases).await;
    assert_projected(&databases).await;
    // One that runs already does not look again.
    without_history(&databases).await;
    databases.append(&[purchased("pro", 1)]).await;
    let head = databases.head().await;
    eventually("it goes on", async || databases.checkpoint().await == head).await;
    assert!(databases.history_of_read_model().await.is_empty());
    let history_position: Option<i64> = sqlx::query_scalar("select history_position from projection where live")
        .fetch_one(databases.read_model())
        .await
        .unwrap();
    assert_eq!(history_position, None);
}
