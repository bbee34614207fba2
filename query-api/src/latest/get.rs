//! `GET /api/sales/latest`: the newest purchases, from memory.

use std::sync::Arc;

use axum::{Json, extract::State, http::header, response::IntoResponse};
use chrono::{DateTime, Utc};
use contract::{catalogue::License, money::Money, position::Position};
use event_log::read_model::{LATEST_PURCHASES, LatestPurchase};
use runtime::http::problem::{Problem, Query};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{problems::invalid_query, sources::Sources};

const DEFAULT_LIMIT: usize = 10;
const MAX_LIMIT: usize = LATEST_PURCHASES;

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Parameters {
    /// Maximum number of purchases.
    #[param(minimum = 1, maximum = 100, default = 10)]
    limit: Option<usize>,
}

/// The newest purchases, including those before the last reset.
#[derive(Serialize, ToSchema)]
pub struct LatestSales {
    /// The newest first.
    purchases: Vec<Sale>,
    /// Log position that the answer reflects.
    position: Position,
}

/// A purchase without its id, which only its buyer knows.
#[derive(Serialize, ToSchema)]
pub struct Sale {
    position: Position,
    license: License,
    price: Money,
    purchased_at: DateTime<Utc>,
}

impl From<&LatestPurchase> for Sale {
    fn from(purchase: &LatestPurchase) -> Self {
        let LatestPurchase { position, purchased_at, license, price } = *purchase;
        Self { position, license, price, purchased_at }
    }
}

/// The newest purchases
#[utoipa::path(
    get,
    path = "/api/sales/latest",
    security(("token" = ["sales"])),
    params(Parameters),
    responses(
        (status = 200, description = "The purchases", body = LatestSales, headers(
            ("Age" = u64, description = "Seconds since the list was last known to be complete"))),
        (status = 400, description = "Invalid query parameter"),
        (status = 503, description = "The read model has not been read yet"),
    ),
)]
pub async fn get_latest_sales(
    State(sources): State<Arc<Sources>>,
    Query(Parameters { limit }): Query<Parameters>,
) -> Result<impl IntoResponse, Problem> {
    let limit = limit.unwrap_or(DEFAULT_LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        return Err(invalid_query(format!("limit is a number from 1 to {MAX_LIMIT}.")));
    }
    let snapshot = sources.newest()?;
    let purchases = snapshot.latest.iter().take(limit).map(Sale::from).collect();
    let age = [(header::AGE, snapshot.age().as_secs().to_string())];
    Ok((age, Json(LatestSales { purchases, position: snapshot.position })))
}
