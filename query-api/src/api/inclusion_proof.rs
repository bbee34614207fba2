//! `GET /api/events/{event}/proof`: proof that an event is in the log that was signed.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    extract::{Path, State, rejection::PathRejection},
};
use contract::{cloud_event::CloudEvent, event::LICENSE_PURCHASED, position::Position, role::Role};
use event_log::transparency::{
    self,
    merkle::{Proof, record_hash},
};
use runtime::{
    access::caller::Caller,
    http::problem::{Problem, Query},
};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};
use utoipa::{IntoParams, ToSchema};

use super::{
    Sources,
    checkpoint::{self, transparency_problem},
    event::{self, Name},
};

/// Longer than it takes to sign an event, unless something is wrong.
const SIGNED_WITHIN: Duration = Duration::from_secs(2);
const LOOK_AGAIN: Duration = Duration::from_millis(100);

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Parameters {
    /// Position of the checkpoint for which the proof is made; the newest if it is left out.
    #[param(value_type = Option<i64>, minimum = 1)]
    checkpoint: Option<Position>,
}

/// That an event is in the log of a checkpoint. Whoever has the public key needs nothing else to check it.
#[derive(Serialize, ToSchema)]
pub struct InclusionProof {
    /// The event's line, whose bytes are hashed: SHA-256 of a zero byte and the line in UTF-8.
    event: String,
    /// The event's position; its place in the tree, counted from 0, is one less.
    position: Position,
    /// The event's hash in the tree, in base64.
    leaf_hash: String,
    /// Position of the checkpoint, which is also the size of its tree.
    tree_size: Position,
    /// The audit path of RFC 9162, section 2.1.3: SHA-256 hashes in base64.
    hashes: Vec<String>,
    /// The newest checkpoint, as a signed note, unless the request names another one.
    checkpoint: Option<String>,
}

/// Proof that an event is in the log that was signed
///
/// Of a purchase, by its id, which its buyer knows, for everybody; by its position, and of every other event, for auditors.
#[utoipa::path(
    get,
    path = "/api/events/{event}/proof",
    security(()),
    params(("event" = String, Path, description = "Position of the event, or its id, which for a purchase is the purchase id"), Parameters),
    responses(
        (status = 200, description = "The proof", body = InclusionProof),
        (status = 400, description = "Invalid query parameter", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such event", body = Problem, content_type = "application/problem+json"),
        (status = 500, description = "The log is damaged: an alarm for operators", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "A database does not answer, or the event is not signed yet, which takes less than a second",
            body = Problem, content_type = "application/problem+json", headers(("Retry-After" = u32, description = "Seconds"))),
    ),
)]
pub async fn get_inclusion_proof(
    State(sources): State<Arc<Sources>>,
    caller: Caller,
    path: Result<Path<String>, PathRejection>,
    Query(parameters): Query<Parameters>,
) -> Result<Json<InclusionProof>, Problem> {
    let name = Name::of(path)?;
    // Buyers know the ids of their own purchases; positions can be counted up.
    if matches!(name, Name::Position(_)) {
        caller.require(Role::Auditor)?;
    }
    let event = event::find(&sources, name).await?;
    // Whatever else happened is nobody's own. That it did is for auditors as well: an id may follow from a key that can be guessed.
    if event.event_type != LICENSE_PURCHASED && !caller.roles.contains(Role::Auditor) {
        return Err(event::unknown(name));
    }
    let (newest, note) = signed(&sources, event.position).await?;
    let tree_size = parameters.checkpoint.unwrap_or(newest);
    if tree_size < event.position || tree_size > newest {
        let detail = format!("checkpoint is a position from {} to {newest}.", event.position);
        return Err(Problem::bad_request("invalid-query", "No such checkpoint holds the event", detail));
    }
    let leaf = event.position.as_sequence() - 1;
    let proof = Proof::Inclusion { leaf, size: tree_size.as_sequence() };
    let hashes = transparency::prove(&sources.read_model, proof).await.map_err(|error| transparency_problem(&error))?;
    let line = CloudEvent::from(&event).to_json();
    Ok(Json(InclusionProof {
        leaf_hash: record_hash(&line).to_string(),
        event: String::from_utf8(line).expect("JSON is UTF-8"),
        position: event.position,
        tree_size,
        hashes: hashes.iter().map(ToString::to_string).collect(),
        checkpoint: parameters.checkpoint.is_none().then_some(note),
    }))
}

/// The newest checkpoint, once it covers the position: a buyer who asks at once need not ask again.
async fn signed(sources: &Sources, position: Position) -> Result<(Position, String), Problem> {
    let deadline = Instant::now() + SIGNED_WITHIN;
    loop {
        let (newest, note) = checkpoint::newest(sources).await?;
        if newest >= position {
            return Ok((newest, note));
        }
        if Instant::now() > deadline {
            let detail = format!("The event at position {position} is not signed yet, only those up to {newest}.");
            return Err(Problem::unavailable(detail));
        }
        sleep(LOOK_AGAIN).await;
    }
}
