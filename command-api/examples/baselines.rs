//! The baselines of `cargo stack bench`, on the HTTP stack of the services. Never shipped.
//!
//! - `nothing` parses, prices and answers purchases like command-api, but stores nothing. It also answers the totals of
//!   query-api, with constant bytes.
//! - `one-row` stores each purchase as one row in one transaction, with a connection pool.

use std::{
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use axum::{
    Json, Router,
    body::Bytes,
    extract::State,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use chrono::{DateTime, Utc};
use clap::{Parser, Subcommand};
use command_api::{
    decide::{Command, decide},
    idempotency::CommandIdentity,
};
use contract::{catalogue::License, event::Event, position::Position, receipt::Receipt};
use event_log::{config, database};
use prometheus_client::registry::Registry;
use runtime::{
    access::Access,
    http::{self, body::JsonBody, problem::Problem},
    run::{self, Service, ServiceConfig},
    tasks::Tasks,
};
use serde::Deserialize;
use serde_json::json;
use sqlx::{PgPool, Postgres, migrate::MigrateDatabase, postgres::PgPoolOptions};
use tracing::error;
use utoipa::openapi::OpenApi;

#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    baseline: Baseline,
    #[arg(long, env, global = true, value_enum, default_value = "text")]
    log_format: run::LogFormat,
}

#[derive(Subcommand)]
enum Baseline {
    /// Store nothing.
    Nothing(ServiceConfig),
    /// Store one row per request and transaction.
    OneRow {
        #[command(flatten)]
        service: ServiceConfig,
        /// Address of the database of purchases; created if missing.
        #[arg(long, env, hide_env_values = true)]
        database_url: String,
        /// Connections in the pool.
        #[arg(long, env)]
        connections: u32,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli: Cli = config::parse();
    let _flush_at_end = run::log_to_stdout(cli.log_format);
    run::exit_code(match cli.baseline {
        Baseline::Nothing(service) => serve(service, nothing()).await,
        Baseline::OneRow { service, database_url, connections } => match one_row(&database_url, connections).await {
            Ok(router) => serve(service, router).await,
            Err(error) => Err(error),
        },
    })
}

/// In the same frame as the services: bounds, request metrics, health, an orderly end.
async fn serve(config: ServiceConfig, router: Router) -> anyhow::Result<()> {
    let assemble = || {
        let mut registry = Registry::with_prefix("sales");
        let mut tasks = Tasks::default();
        let access = Access::new(&config.access, config.listen_address, &mut tasks)?;
        let api = http::api::api("baseline", router, Router::new(), &description(), access.clone(), &mut registry);
        Ok(Service { api, access, readiness: Arc::new(|| Ok(())), registry, tasks })
    };
    run::run("baseline", &config, assemble).await
}

/// Who may: everybody.
fn description() -> OpenApi {
    let operation = json!({ "security": [{}], "responses": {} });
    let description = json!({
        "openapi": "3.1.0",
        "info": { "title": "Baselines", "version": "1" },
        "paths": { "/api/buy_mpi": { "post": operation }, "/api/get_current_money": { "get": operation } },
    });
    serde_json::from_value(description).expect("a description of two endpoints")
}

/// As command-api takes it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Purchase {
    license: License,
}

/// As command-api answers it.
fn receipt(identity: &CommandIdentity, event: Event, position: Position, at: DateTime<Utc>) -> Response {
    let Event::LicensePurchased(purchase) = event else { return Problem::internal().into_response() };
    let receipt = Receipt::new(identity.event_id, position, at, &purchase);
    let location = HeaderValue::try_from(receipt.location()).expect("a path of visible ASCII characters");
    (StatusCode::CREATED, [(header::LOCATION, location)], Json(receipt)).into_response()
}

fn nothing() -> Router {
    Router::new()
        .route("/api/buy_mpi", post(buy_nothing))
        .route("/api/get_current_money", get(constant_money))
        .with_state(Arc::new(AtomicU64::new(1)))
}

async fn buy_nothing(
    State(next): State<Arc<AtomicU64>>,
    identity: CommandIdentity,
    JsonBody(Purchase { license }): JsonBody<Purchase>,
) -> Result<Response, Problem> {
    let event = decide(Command::Buy(license));
    let position = next.fetch_add(1, Ordering::Relaxed);
    let position = i64::try_from(position).ok().and_then(|number| Position::try_from(number).ok());
    Ok(receipt(&identity, event, position.ok_or_else(Problem::internal)?, Utc::now()))
}

/// Of the same length as query-api's, and under the same headers.
async fn constant_money() -> Response {
    const BODY: &[u8] = br#"{"sales_count":1234567,"revenue":{"amount_minor":51234567800,"currency":"EUR"},"by_license":{"basic":{"sales_count":411522,"revenue":{"amount_minor":2016457800,"currency":"EUR"}},"pro":{"sales_count":411522,"revenue":{"amount_minor":8189287800,"currency":"EUR"}},"enterprise":{"sales_count":411523,"revenue":{"amount_minor":41111147700,"currency":"EUR"}}},"position":1234567,"as_of":"2025-01-01T00:00:00.000000Z"}"#;
    let headers = [
        (header::AGE, HeaderValue::from_static("0")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        (header::ETAG, HeaderValue::from_static("\"1-1234567\"")),
        (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
    ];
    (headers, Bytes::from_static(BODY)).into_response()
}

/// The table has the columns and indexes of the log. What it cannot have, with numbers from a sequence, is an order
/// without holes.
const TABLE: &str = "create table if not exists purchase (
    position bigint generated always as identity primary key,
    recorded_at timestamptz not null default clock_timestamp(),
    event_id uuid not null unique,
    schema_version smallint not null,
    event_type text not null,
    data json not null,
    metadata json
)";

async fn one_row(url: &str, connections: u32) -> anyhow::Result<Router> {
    if !Postgres::database_exists(url).await? {
        Postgres::create_database(url).await?;
    }
    let options = database::options("DATABASE_URL", url, "one-row")?;
    let pool = PgPoolOptions::new()
        .max_connections(connections)
        // A ping before each use would double the round trips.
        .test_before_acquire(false)
        .connect_with(options)
        .await?;
    sqlx::raw_sql(TABLE).execute(&pool).await?;
    Ok(Router::new().route("/api/buy_mpi", post(buy_one_row)).with_state(pool))
}

async fn buy_one_row(
    State(pool): State<PgPool>,
    identity: CommandIdentity,
    JsonBody(Purchase { license }): JsonBody<Purchase>,
) -> Result<Response, Problem> {
    let event = decide(Command::Buy(license));
    let (event_type, schema_version, data) = event.encode();
    // A transaction of its own, in the fewest round trips: one.
    let inserted: sqlx::Result<(i64, DateTime<Utc>)> = sqlx::query_as(
        "insert into purchase (event_id, schema_version, event_type, data, metadata)
         values ($1, $2, $3, $4::json, $5::json) returning position, recorded_at",
    )
    .bind(identity.event_id.as_uuid())
    .bind(schema_version)
    .bind(event_type)
    .bind(data)
    .bind(identity.metadata.encode())
    .fetch_one(&pool)
    .await;
    let stored = inserted.and_then(|(position, at)| {
        let position = Position::try_from(position).map_err(|error| sqlx::Error::Decode(error.into()))?;
        Ok((position, at))
    });
    match stored {
        Ok((position, at)) => Ok(receipt(&identity, event, position, at)),
        Err(error) => {
            error!(%error, "The purchase was not stored");
            Err(Problem::internal())
        }
    }
}
