//! `GET /api/sales/latest`: the newest purchases.

use std::sync::Arc;

use axum::{Json, extract::State};
use chrono::{DateTime, Utc};
use contract::{
    catalogue::License,
    event::{Event, EventType},
    money::Money,
    position::Position,
};
use runtime::http::problem::{Problem, Query};
use serde::{Deserialize, Serialize};
use tracing::error;
use utoipa::{IntoParams, ToSchema};

use crate::{
    problems::{self, invalid_query},
    sources::Sources,
};

const DEFAULT_LIMIT: usize = 10;
const MAX_LIMIT: usize = 100;

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Parameters {
    /// How many, at most.
    #[param(minimum = 1, maximum = 100, default = 10)]
    limit: Option<usize>,
}

/// The newest purchases, whatever was reset since.
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

/// The newest purchases
#[utoipa::path(
    get,
    path = "/api/sales/latest",
    security(("token" = ["sales"])),
    params(Parameters),
    responses(
        (status = 200, description = "The purchases", body = LatestSales),
        (status = 400, description = "Invalid query parameter", body = Problem, content_type = "application/problem+json"),
        (status = 500, description = "The log is damaged: an alarm for operators", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The event store does not answer", body = Problem,
            content_type = "application/problem+json", headers(("Retry-After" = u32, description = "Seconds"))),
    ),
)]
pub async fn get_latest_sales(
    State(sources): State<Arc<Sources>>,
    Query(Parameters { limit }): Query<Parameters>,
) -> Result<Json<LatestSales>, Problem> {
    let limit = limit.unwrap_or(DEFAULT_LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        return Err(invalid_query(format!("limit is a number from 1 to {MAX_LIMIT}.")));
    }
    let store = &sources.event_store;
    let position = event_log::head(store).await.map_err(|error| problems::event_store(&error.into()))?;
    let newest = event_log::read_last(store, EventType::LicensePurchased, position, limit)
        .await
        .map_err(|error| problems::event_store(&error.into()))?;
    let sales = newest.iter().map(|recorded| match recorded.decode() {
        Ok(Event::LicensePurchased(purchase)) => Ok(Sale {
            position: recorded.position,
            license: purchase.license,
            price: purchase.price,
            purchased_at: recorded.recorded_at,
        }),
        not_understood => {
            error!(?not_understood, position = recorded.position.get(), "A stored event is not understood");
            Err(Problem::internal())
        }
    });
    Ok(Json(LatestSales { purchases: sales.collect::<Result<_, _>>()?, position }))
}
