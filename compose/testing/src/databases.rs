//! Databases for a single test: an event store and a read model, migrated by the services' own binaries.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use sqlx::{
    AssertSqlSafe, Connection, FromRow, PgConnection, PgPool, Postgres as Sqlx,
    migrate::MigrateDatabase,
    postgres::{PgPoolOptions, PgRow},
};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};

use crate::{Postgres, Service, postgres};
use stack::identity::ProcessId;

const EVENT_STORE_TEMPLATE: &str = "event_store_template";
const READ_MODEL_TEMPLATE: &str = "read_model_template";
/// Key of the advisory lock on both.
const TEMPLATES_LOCK: i64 = 1;
/// The password of every role of a service. It protects nothing: the cluster is reached through loopback alone.
const PASSWORD: &str = "test";

/// An empty event store and an empty read model.
#[derive(Clone, Debug)]
pub struct Databases {
    address: SocketAddr,
    event_store: PgPool,
    read_model: PgPool,
    /// Part of their names that no other test of the cluster has.
    suffix: String,
}

impl Databases {
    /// New ones in the Postgres that all tests of the run share.
    pub async fn create() -> Self {
        let shared = spawn_blocking(postgres).await.expect("Postgres starts");
        Self::create_in(shared).await
    }

    /// New ones in a Postgres that the test may stop.
    pub async fn create_in(postgres: &Postgres) -> Self {
        let suffix = unique_suffix();
        let databases = Self {
            address: postgres.address(),
            event_store: pool(&postgres.admin_url(&event_store(&suffix))),
            read_model: pool(&postgres.admin_url(&read_model(&suffix))),
            suffix,
        };
        let mut admin = PgConnection::connect(&postgres.admin_url("postgres")).await.expect("Postgres answers");
        make_templates(postgres, &mut admin).await;
        for (name, template) in [
            (event_store(&databases.suffix), EVENT_STORE_TEMPLATE),
            (read_model(&databases.suffix), READ_MODEL_TEMPLATE),
        ] {
            execute(&mut admin, format!("create database {name} template {template}")).await;
        }
        databases
    }

    /// Address of the event store for the role of a service.
    pub fn event_store_url(&self, role: &str) -> String {
        self.event_store_url_via(role, self.address)
    }

    /// The same through a proxy.
    pub fn event_store_url_via(&self, role: &str, address: SocketAddr) -> String {
        format!("postgres://{role}:{PASSWORD}@{address}/{}", event_store(&self.suffix))
    }

    /// Address of the read model for the role of a service.
    pub fn read_model_url(&self, role: &str) -> String {
        self.read_model_url_via(role, self.address)
    }

    /// The same through a proxy.
    pub fn read_model_url_via(&self, role: &str, address: SocketAddr) -> String {
        format!("postgres://{role}:{PASSWORD}@{address}/{}", read_model(&self.suffix))
    }

    /// The event store, as superuser.
    pub fn event_store(&self) -> &PgPool {
        &self.event_store
    }

    /// The read model, as superuser.
    pub fn read_model(&self) -> &PgPool {
        &self.read_model
    }
}

/// Number of sales and revenue in minor units, by licence; licences without sales are left out.
pub type Counted = BTreeMap<String, (i64, i64)>;

/// The type and data of a purchase in the log.
pub fn purchased(license: &str, amount_minor: i64) -> (&'static str, String) {
    let data = format!(r#"{{"license":"{license}","price":{{"amount_minor":{amount_minor},"currency":"EUR"}}}}"#);
    ("LicensePurchased", data)
}

/// The type and data of a reset in the log.
pub fn reset() -> (&'static str, String) {
    ("SalesReset", "{}".to_owned())
}

impl Databases {
    /// Appends events as the services do. Returns the end of the log.
    pub async fn append(&self, events: &[(&str, String)]) -> i64 {
        let append = sqlx::query(
            "select append_events(
                 array(select gen_random_uuid() from generate_series(1, cardinality($1))),
                 $1, array_fill(1::smallint, array[cardinality($1)]), $2, array_fill(null::text, array[cardinality($1)]))",
        );
        append
            .bind(events.iter().map(|(event_type, _)| *event_type).collect::<Vec<_>>())
            .bind(events.iter().map(|(_, data)| data.as_str()).collect::<Vec<_>>())
            .execute(self.event_store())
            .await
            .expect("events can be appended");
        self.head().await
    }

    /// Appends events without any check, now. Returns the end of the log.
    pub async fn append_unchecked(&self, events: &[(&str, String)]) -> i64 {
        self.append_at("now", events).await
    }

    /// The same at a given time, which must not be earlier than that of the last event.
    pub async fn append_at(&self, time: &str, events: &[(&str, String)]) -> i64 {
        let append = sqlx::query(
            "with moved as (
                 update head set position = position + cardinality($1), recorded_at = $3::text::timestamptz returning position
             )
             insert into event (position, recorded_at, event_id, schema_version, event_type, data)
             select position - cardinality($1) + ordinal, $3::text::timestamptz, gen_random_uuid(), 1, event_type, data::json
             from moved cross join unnest($1, $2) with ordinality as batch (event_type, data, ordinal)",
        );
        append
            .bind(events.iter().map(|(event_type, _)| *event_type).collect::<Vec<_>>())
            .bind(events.iter().map(|(_, data)| data.as_str()).collect::<Vec<_>>())
            .bind(time)
            .execute(self.event_store())
            .await
            .expect("events can be appended");
        self.head().await
    }

    /// Changes the event store as superuser, without triggers and constraints in the way.
    pub async fn tamper(&self, statements: &str) {
        let unguarded = format!("begin; set local session_replication_role = replica; {statements}; commit");
        self.change_event_store(&unguarded).await;
    }

    /// Changes the event store as superuser.
    pub async fn change_event_store(&self, statements: &str) {
        change(self.event_store(), statements).await;
    }

    /// Changes the read model as superuser.
    pub async fn change_read_model(&self, statements: &str) {
        change(self.read_model(), statements).await;
    }

    /// Sales per minute and quarter of an hour, and resets, as counted in the log by a query that shares no code with the projector.
    pub async fn history_of_log(&self) -> Vec<String> {
        let history = sqlx::query_scalar(
            "select concat_ws(
                 ' ', minutes, to_timestamp(floor(extract(epoch from recorded_at) / 60 / minutes) * 60 * minutes),
                 data ->> 'license', count(*), sum((data -> 'price' ->> 'amount_minor')::bigint))
             from event cross join (values (1), (15)) as width (minutes)
             where event_type = 'LicensePurchased'
             group by minutes, floor(extract(epoch from recorded_at) / 60 / minutes), data ->> 'license'
             union all
             select concat_ws(' ', position, recorded_at, data ->> 'reason') from event where event_type = 'SalesReset'
             order by 1",
        );
        history.fetch_all(self.event_store()).await.expect("the database counts")
    }

    /// The same as stored in the live read model.
    pub async fn history_of_read_model(&self) -> Vec<String> {
        let history = sqlx::query_scalar(
            "with live as (select generation from projection where live)
             select concat_ws(' ', minutes, begins_at, license, sales_count, revenue_minor)
             from history_bucket join live using (generation)
             union all
             select concat_ws(' ', position, reset_at, reason) from history_reset join live using (generation)
             order by 1",
        );
        history.fetch_all(self.read_model()).await.expect("the database answers")
    }

    /// The live read model's newest purchases, the newest first.
    pub async fn latest_of_read_model(&self) -> Vec<(i64, String, String, i64)> {
        let latest = sqlx::query_as(
            "select sale.position, sale.purchased_at::text, license, amount_minor
             from projection join latest_purchases using (generation)
             cross join unnest(positions, latest_purchases.purchased_at, licenses, amounts_minor)
                 as sale (position, purchased_at, license, amount_minor)
             where live order by 1 desc",
        );
        latest.fetch_all(self.read_model()).await.expect("the database answers")
    }

    /// The same from the log.
    pub async fn latest_of_log(&self) -> Vec<(i64, String, String, i64)> {
        let latest = sqlx::query_as(
            "select position, recorded_at::text, data ->> 'license', (data -> 'price' ->> 'amount_minor')::bigint
             from event where event_type = 'LicensePurchased' order by position desc limit 100",
        );
        latest.fetch_all(self.event_store()).await.expect("the database answers")
    }

    /// Totals since the last reset, as counted in the log by a query that shares no code with the projector.
    pub async fn count_log(&self) -> Counted {
        counted(
            "select data ->> 'license', count(*), sum((data -> 'price' ->> 'amount_minor')::bigint)::bigint from event
             where event_type = 'LicensePurchased'
               and position > (select coalesce(max(position), 0) from event where event_type = 'SalesReset')
             group by 1",
            self.event_store(),
        )
        .await
    }

    /// Totals of the live read model.
    pub async fn count_read_model(&self) -> Counted {
        counted(
            "select license, sales_count, revenue_minor from license_total join projection using (generation)
             where live and sales_count > 0",
            self.read_model(),
        )
        .await
    }

    /// Projection position of the live read model.
    pub async fn checkpoint(&self) -> i64 {
        sqlx::query_scalar("select position from projection where live")
            .fetch_one(self.read_model())
            .await
            .expect("a generation is live")
    }

    /// Position of the last event in the log.
    pub async fn head(&self) -> i64 {
        sqlx::query_scalar("select position from head").fetch_one(self.event_store()).await.expect("a head")
    }
}

/// Few connections, because many tests share the server.
fn pool(url: &str) -> PgPool {
    PgPoolOptions::new().max_connections(2).connect_lazy(url).expect("a valid address")
}

/// The only column of the rows that a query finds, read as superuser.
pub async fn values<T>(pool: &PgPool, query: &str) -> Vec<T>
where
    T: Send + Unpin,
    (T,): for<'row> FromRow<'row, PgRow>,
{
    let found = sqlx::query_scalar(AssertSqlSafe(query)).fetch_all(pool).await;
    found.unwrap_or_else(|error| panic!("{query}: {error}"))
}

async fn change(pool: &PgPool, statements: &str) {
    let changed = sqlx::raw_sql(AssertSqlSafe(statements)).execute(pool).await;
    changed.unwrap_or_else(|error| panic!("{statements}: {error}"));
}

async fn counted(query: &'static str, pool: &PgPool) -> Counted {
    let rows: Vec<(String, i64, i64)> = sqlx::query_as(query).fetch_all(pool).await.expect("the database counts");
    rows.into_iter().map(|(license, count, revenue)| (license, (count, revenue))).collect()
}

/// Polls until the condition holds. Panics with `what` at the deadline.
pub async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    const DEADLINE: Duration = Duration::from_secs(30);
    const POLL_INTERVAL: Duration = Duration::from_millis(10);
    let started = Instant::now();
    while !condition().await {
        assert!(started.elapsed() < DEADLINE, "not within {DEADLINE:?}: {what}");
        sleep(POLL_INTERVAL).await;
    }
}

fn event_store(suffix: &str) -> String {
    format!("event_store_{suffix}")
}

fn read_model(suffix: &str) -> String {
    format!("read_model_{suffix}")
}

fn unique_suffix() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(1);
    let ours = ProcessId::own().expect("/proc is mounted").to_string().replace('-', "_");
    format!("{ours}_{}", COUNT.fetch_add(1, Ordering::Relaxed))
}

/// Migrates once per cluster. Every test gets a copy, which is faster.
async fn make_templates(postgres: &Postgres, admin: &mut PgConnection) {
    // The tests of a run are processes of their own, and start at the same time.
    execute(admin, format!("select pg_advisory_lock({TEMPLATES_LOCK})")).await;
    let read_model = postgres.admin_url(READ_MODEL_TEMPLATE);
    if !Sqlx::database_exists(&read_model).await.expect("Postgres answers") {
        migrate(&postgres.admin_url(EVENT_STORE_TEMPLATE), &read_model).await;
    }
    execute(admin, format!("select pg_advisory_unlock({TEMPLATES_LOCK})")).await;
}

async fn migrate(event_store: &str, read_model: &str) {
    let passwords = [
        ("COMMAND_API_DB_PASSWORD", PASSWORD),
        ("PROJECTOR_DB_PASSWORD", PASSWORD),
        ("QUERY_API_DB_PASSWORD", PASSWORD),
        ("AUDITOR_DB_PASSWORD", PASSWORD),
    ];
    let with = |url, value| [&[(url, value)], &passwords[..]].concat();
    Service::run("command-api", "migrate", &with("EVENT_STORE_ADMIN_URL", event_store)).await;
    Service::run("projector", "migrate", &with("READ_MODEL_ADMIN_URL", read_model)).await;
}

async fn execute(connection: &mut PgConnection, statement: String) {
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(connection).await.unwrap_or_else(|error| panic!("{error}"));
}
