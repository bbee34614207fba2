//! `POST /api/buy_mpi`: buys one licence.

use axum::{
    Json,
    extract::State,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use contract::{catalogue::License, event::Event, receipt::Receipt, recorded_event::NewEvent};
use runtime::{
    access::caller::Caller,
    http::{body::JsonBody, problem::Problem},
};
use serde::Deserialize;
use utoipa::ToSchema;

use super::{key_reused, stored_by_a_newer_version};
use crate::{
    decide::{Command, decide},
    idempotency::CommandIdentity,
    writer::WriterHandle,
};

/// The licence to buy.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Purchase {
    license: License,
}

/// Buys one licence
///
/// With an `Idempotency-Key`, a repeated request returns the receipt of the first one, at any later time.
#[utoipa::path(
    post,
    path = "/api/buy_mpi",
    security(()),
    request_body = Purchase,
    params(("Idempotency-Key" = Option<String>, Header, description =
        "One key of 1 to 255 visible ASCII characters other than comma, quotes and backslash, unique to this purchase. Use a UUID: it becomes the purchase id, in whatever notation it is sent")),
    responses(
        (status = 201, description = "Bought", body = Receipt,
            headers(("Location" = String, description = "Address of the receipt"))),
        (status = 400, description = "Malformed JSON or header"),
        (status = 415, description = "Body is not application/json, or has a content encoding"),
        (status = 422, description = "Unknown licence or field, or the key belongs to another command"),
        (status = 503, description = "Busy; retry with the same key"),
    ),
)]
pub async fn buy_mpi(
    State(log): State<WriterHandle>,
    caller: Caller,
    identity: CommandIdentity,
    JsonBody(Purchase { license }): JsonBody<Purchase>,
) -> Result<Response, Problem> {
    let event = decide(Command::Buy(license));
    let event_id = identity.event_id;
    let recorded = log.append(NewEvent::new(event_id, event, identity.caused_by(caller.as_customer()))).await?;
    match recorded.event {
        // The price comes from the log: a repeated request gets the first receipt even after a price change.
        Ok(Event::LicensePurchased(purchase)) if purchase.license == license => {
            let receipt = Receipt::new(event_id, recorded.position, recorded.recorded_at, &purchase);
            let location = HeaderValue::try_from(receipt.location()).expect("a path of visible ASCII characters");
            Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(receipt)).into_response())
        }
        Ok(_) => Err(key_reused()),
        // An event that never counts: the purchase needs another key.
        Err(error) if error.is_final() => Err(key_reused()),
        Err(_) => Err(stored_by_a_newer_version()),
    }
}
