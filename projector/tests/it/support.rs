//! The states that tests start from, and the expected read model.

use sqlx::{Postgres, Transaction};
use testing::{Databases, NO_NATS, Service, eventually, purchased, reset};

/// Databases with some thousand events, all of them projected. No projector runs.
pub async fn projected() -> Databases {
    let databases = Databases::create().await;
    append_some(&databases).await;
    let _projector = databases.projector(NO_NATS).await;
    assert_projected(&databases).await;
    databases
}

/// Blocks the switch of every rebuild until the transaction ends.
pub async fn hold_live(databases: &Databases) -> Transaction<'static, Postgres> {
    let mut hold = databases.read_model().begin().await.unwrap();
    sqlx::query("select from projection where live for update").execute(&mut *hold).await.unwrap();
    hold
}

/// Where a rebuild can be blocked: before it loads an interrupted one, and before its switch.
pub const AT_START: &str = "where not live returning projection_version";
pub const AT_SWITCH: &str = "where live for update";

/// How many rebuilds wait for a lock there.
pub async fn rebuilds_held(databases: &Databases, place: &str) -> usize {
    let held = sqlx::query_scalar::<_, i64>(
        "select count(*) from pg_stat_activity where datname = current_database()
         and application_name = 'projector rebuild' and wait_event_type = 'Lock' and query like '%' || $1",
    );
    held.bind(place).fetch_one(databases.read_model()).await.unwrap().try_into().unwrap()
}

/// Numbers of the live generation and of the one that is being built.
pub async fn generations(databases: &Databases) -> (i64, Option<i64>) {
    sqlx::query_as(
        "select max(generation) filter (where live), max(generation) filter (where not live) from projection",
    )
    .fetch_one(databases.read_model())
    .await
    .unwrap()
}

/// Some thousand purchases with resets among them.
pub async fn append_some(databases: &Databases) {
    for round in 0..3 {
        databases.append(&vec![purchased("pro", 19_900); 700]).await;
        databases.append(&vec![purchased("basic", round); 700]).await;
        databases.append(&[reset(), purchased("enterprise", 99_900)]).await;
    }
    databases.append(&vec![purchased("pro", 19_900); 700]).await;
}

/// Restores the log from a backup that was made when it ended at this position.
pub async fn restore_log(databases: &Databases, end: i64) {
    databases.tamper(&format!("delete from event where position > {end}; update head set position = {end}")).await;
}

/// Changes a live total, as only the projection may.
pub async fn change_a_total(databases: &Databases) {
    let tampered = sqlx::query(
        "update license_total set sales_count = sales_count + 1, revenue_minor = revenue_minor - 1
         where license = 'pro' and generation = (select generation from projection where live)",
    );
    assert_eq!(tampered.execute(databases.read_model()).await.unwrap().rows_affected(), 1);
}

/// Waits until the read model has reached the end of the log, and compares it with counts by the database.
pub async fn assert_projected(databases: &Databases) {
    let head = databases.head().await;
    eventually("the whole log is projected", async || databases.checkpoint().await == head).await;
    assert_eq!(databases.count_read_model().await, databases.count_log().await);
    assert_eq!(databases.history_of_read_model().await, databases.history_of_log().await);
    assert_eq!(databases.latest_of_read_model().await, databases.latest_of_log().await);
}

pub async fn readiness(service: &Service) -> (u16, String) {
    let response = service.get("/readyz").await;
    (response.status().as_u16(), response.text().await.unwrap())
}
