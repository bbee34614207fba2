//! Projectors for the tests, and the expected read model.

use sqlx::{AssertSqlSafe, Postgres, Transaction};
use testing::{Command, Databases, Nats, Service, Until, eventually, purchased, reset};

/// No server listens there: for tests without NATS.
pub const NO_NATS: &str = "nats://127.0.0.1:1";

pub async fn projector(databases: &Databases, nats_url: &str) -> Service {
    projector_until(databases, nats_url, Until::Ready).await
}

pub async fn projector_until(databases: &Databases, nats_url: &str, until: Until) -> Service {
    let (event_store, read_model) = urls(databases);
    let environment = [("EVENT_STORE_URL", &*event_store), ("READ_MODEL_URL", &read_model), ("NATS_URL", nats_url)];
    Service::start("projector", until, &environment).await
}

pub async fn rebuild(databases: &Databases) {
    let (event_store, read_model) = urls(databases);
    Service::run("projector", "rebuild", &[("EVENT_STORE_URL", &event_store), ("READ_MODEL_URL", &read_model)]).await;
}

/// Starts `projector rebuild` with these options.
pub fn start_rebuild(databases: &Databases, options: &[&str]) -> Command {
    let (event_store, read_model) = urls(databases);
    let environment = [("EVENT_STORE_URL", &*event_store), ("READ_MODEL_URL", &read_model)];
    Command::start("projector", &[&["rebuild"], options].concat(), &environment)
}

/// Blocks the switch of every rebuild until the transaction ends.
pub async fn hold_live(databases: &Databases) -> Transaction<'static, Postgres> {
    let mut hold = databases.read_model().begin().await.unwrap();
    sqlx::query("select from projection where live for update").execute(&mut *hold).await.unwrap();
    hold
}

/// Where a rebuild can be blocked: before it loads an interrupted one, and before its switch.
pub const AT_START: &str = "where not live for update";
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
    sqlx::raw_sql(AssertSqlSafe(format!(
        "alter table event disable trigger all; delete from event where position > {end};
         alter table event enable trigger all;
         alter table head disable trigger all; update head set position = {end}; alter table head enable trigger all"
    )))
    .execute(databases.event_store())
    .await
    .unwrap();
}

/// Changes a live total, as only the projection may.
pub async fn tamper(databases: &Databases) {
    let tampered = sqlx::query(
        "update license_total set sales_count = sales_count + 1, revenue_minor = revenue_minor - 1
         where license = 'pro' and generation = (select generation from projection where live)",
    );
    assert_eq!(tampered.execute(databases.read_model()).await.unwrap().rows_affected(), 1);
}

fn urls(databases: &Databases) -> (String, String) {
    (databases.event_store_url("projector"), databases.read_model_url("projector"))
}

pub async fn command_api(databases: &Databases, nats: &Nats) -> Service {
    command_api_at(databases, &nats.url("command-api")).await
}

pub async fn command_api_at(databases: &Databases, nats_url: &str) -> Service {
    let event_store = databases.event_store_url("command_api");
    Service::start("command-api", Until::Ready, &[("EVENT_STORE_URL", &event_store), ("NATS_URL", nats_url)]).await
}

pub async fn query_api(databases: &Databases) -> Service {
    let (event_store, read_model) = (databases.event_store_url("query_api"), databases.read_model_url("query_api"));
    let environment = [("EVENT_STORE_URL", event_store.as_str()), ("READ_MODEL_URL", &read_model)];
    Service::start("query-api", Until::Ready, &environment).await
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
