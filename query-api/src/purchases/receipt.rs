//! `GET /api/purchases/{purchase_id}`: the receipt of an earlier purchase.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State, rejection::PathRejection},
    http::StatusCode,
};
use contract::{event::Event, receipt::Receipt};
use event_log::Decisions;
use runtime::{http::problem::Problem, log_limits::Sampler};
use uuid::Uuid;

use crate::{problems, sources::Sources};

/// The receipt of a purchase
#[utoipa::path(
    get,
    path = "/api/purchases/{purchase_id}",
    security(()),
    params(("purchase_id" = Uuid, Path, description = "Purchase id, from the receipt")),
    responses(
        (status = 200, description = "The receipt, as issued at the purchase", body = Receipt),
        (status = 404, description = "Unknown purchase"),
        (status = 500, description = "The log is damaged; operators are alerted"),
        (status = 503, description = "The event store is unreachable"),
    ),
)]
pub async fn get_purchase(
    State(sources): State<Arc<Sources>>,
    path: Result<Path<String>, PathRejection>,
) -> Result<Json<Receipt>, Problem> {
    find(&sources, path).await.map(Json)
}

/// The receipt of the purchase that a path names.
pub async fn find(sources: &Sources, path: Result<Path<String>, PathRejection>) -> Result<Receipt, Problem> {
    // A path that is not UTF-8 names no purchase.
    let purchase_id = path.map(|Path(purchase_id)| purchase_id).unwrap_or_default();
    let unknown = || {
        let detail = format!("There is no purchase with the id {purchase_id}.");
        Problem::new(StatusCode::NOT_FOUND, "unknown-purchase", "Unknown purchase", detail)
    };
    let id = Uuid::try_parse(&purchase_id).map_err(|_| unknown())?.into();
    let recorded =
        event_log::read_by_id(&sources.event_store, id).await.map_err(problems::event_store)?.ok_or_else(unknown)?;
    let mut decoded = recorded.decode();
    if decoded.is_err() {
        let decisions = Decisions::after(&sources.event_store, recorded.position).await;
        decoded = decisions.map_err(problems::event_store)?.meaning(&recorded);
    }
    match decoded {
        Ok(Event::LicensePurchased(purchase)) => {
            Ok(Receipt::new(id, recorded.position, recorded.recorded_at, &purchase))
        }
        Ok(Event::SalesReset(_) | Event::EventVoided(_)) => Err(unknown()),
        Err(error) => {
            static SAMPLER: Sampler = Sampler::new();
            if let Some(left_out) = SAMPLER.admit() {
                tracing::error!(%error, position = recorded.position.get(), left_out, "A stored event cannot be decoded");
            }
            Err(Problem::internal())
        }
    }
}
