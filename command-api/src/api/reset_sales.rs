//! `DELETE /api/sales`: the totals start again from zero.

use axum::{Json, extract::State};
use chrono::{DateTime, Utc};
use serde::Serialize;
use shared::{event::Event, event_log::Position, problem::Problem};
use utoipa::ToSchema;

use super::key_reused;
use crate::{
    decide::{Command, decide},
    idempotency::CommandIdentity,
    store::NewEvent,
    writer::EventLog,
};

/// Where in the log the totals start again.
#[derive(Serialize, ToSchema)]
pub struct Reset {
    /// Place of the reset in the event log; `min_position` of a later query waits for it.
    position: Position,
    reset_at: DateTime<Utc>,
}

/// Resets the sales
///
/// Appends an event from which on the totals count anew. Nothing is deleted: the log keeps every purchase. Send an
/// `Idempotency-Key` if you may repeat the request: a second reset would take the purchases made in between out of the
/// totals.
#[utoipa::path(
    delete,
    path = "/api/sales",
    params(("Idempotency-Key" = Option<String>, Header, description =
        "1 to 255 visible ASCII characters that name this reset, best a UUID")),
    responses(
        (status = 200, description = "Reset", body = Reset),
        (status = 400, description = "Malformed header", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "The key belongs to another command", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "Busy; try again with the same key", body = Problem,
            content_type = "application/problem+json", headers(("Retry-After" = u32, description = "Seconds"))),
    ),
)]
pub async fn reset_sales(State(log): State<EventLog>, identity: CommandIdentity) -> Result<Json<Reset>, Problem> {
    let event = decide(Command::ResetSales);
    let recorded = log.append(NewEvent::new(identity.event_id, event, identity.metadata)).await?;
    match recorded.event {
        Ok(Event::SalesReset(_)) => Ok(Json(Reset { position: recorded.position, reset_at: recorded.recorded_at })),
        Ok(Event::LicensePurchased(_)) | Err(_) => Err(key_reused()),
    }
}
