//! `DELETE /api/sales`: resets the totals to zero.

use axum::{Json, extract::State};
use chrono::{DateTime, Utc};
use contract::{
    line::{MAX_REASON_CHARACTERS, is_line},
    position::Position,
    recorded_event::NewEvent,
};
use runtime::{
    access::caller::Caller,
    http::problem::{Problem, Query},
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{key_reused, stored_by_a_newer_version};
use crate::{
    decide::{Command, decide},
    idempotency::CommandIdentity,
    writer::WriterHandle,
};

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Parameters {
    /// Reason of the reset, on one line; it stays in the log permanently.
    #[param(value_type = Option<String>, min_length = 1, max_length = 500)]
    reason: Option<Reason>,
}

/// A line of text of bounded length.
#[derive(Deserialize)]
#[serde(try_from = "String")]
struct Reason(String);

impl TryFrom<String> for Reason {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if is_line(&text, MAX_REASON_CHARACTERS) {
            return Ok(Self(text));
        }
        Err(format!("a reason has 1 to {MAX_REASON_CHARACTERS} characters on one line"))
    }
}

/// The reset as recorded.
#[derive(Serialize, ToSchema)]
pub struct Reset {
    /// Position of the reset in the log; pass it as `min_position` to wait until a query reflects it.
    position: Position,
    reset_at: DateTime<Utc>,
}

/// Resets the sales
///
/// Appends an event after which the totals start at zero. Nothing is deleted: the log keeps every purchase. Send an
/// `Idempotency-Key` if you may repeat the request: a second reset would remove the purchases made in between from the
/// totals.
#[utoipa::path(
    delete,
    path = "/api/sales",
    security(("token" = ["operator"])),
    params(Parameters, ("Idempotency-Key" = Option<String>, Header, description =
        "One key of 1 to 255 visible ASCII characters other than comma, quotes and backslash, unique to this reset. Use a UUID")),
    responses(
        (status = 200, description = "Reset", body = Reset),
        (status = 400, description = "Malformed header or query"),
        (status = 422, description = "The key belongs to another command"),
        (status = 503, description = "Busy; retry with the same key"),
    ),
)]
pub async fn reset_sales(
    State(log): State<WriterHandle>,
    caller: Caller,
    identity: CommandIdentity,
    Query(Parameters { reason }): Query<Parameters>,
) -> Result<Json<Reset>, Problem> {
    let event = decide(Command::ResetSales { reason: reason.map(|Reason(text)| text) });
    let event_id = identity.event_id;
    let new = NewEvent::new(event_id, event.clone(), identity.caused_by(Some(caller.as_operator())));
    let recorded = log.append(new).await?;
    match recorded.event {
        Ok(stored) if stored == event => {
            Ok(Json(Reset { position: recorded.position, reset_at: recorded.recorded_at }))
        }
        Ok(_) => Err(key_reused()),
        Err(error) if error.is_final() => Err(key_reused()),
        Err(_) => Err(stored_by_a_newer_version()),
    }
}
