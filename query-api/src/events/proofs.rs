//! Proofs about the signed log: `GET /api/events/{event}/proof` that an event is in it, and `GET /api/events/consistency` that it only
//! grew between two checkpoints.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    extract::{Path, State, rejection::PathRejection},
};
use contract::{event::LICENSE_PURCHASED, position::Position, role::Role};
use event_log::transparency::merkle::{Hash, record_hash};
use runtime::{
    access::caller::Caller,
    http::problem::{Problem, Query},
};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};
use utoipa::{IntoParams, ToSchema};

use super::{
    get::{self, Name},
    signed_tree::SignedTree,
};
use crate::sources::Sources;

/// Longer than signing takes in normal operation.
const SIGNED_WITHIN: Duration = Duration::from_secs(2);
const POLL_INTERVAL: Duration = Duration::from_millis(100);

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct InclusionParameters {
    /// Position of the checkpoint to prove against; by default the newest.
    #[param(value_type = Option<i64>, minimum = 1)]
    checkpoint: Option<Position>,
}

/// Proof that an event is in the log of a checkpoint. It can be verified with the public key alone.
#[derive(Serialize, ToSchema)]
pub struct InclusionProof {
    /// The event as a line. The leaf hash is the SHA-256 of a zero byte and this line in UTF-8.
    event: String,
    /// The event's position; its leaf index in the tree is one less.
    position: Position,
    /// The event's leaf hash, in base64.
    leaf_hash: String,
    /// Position of the checkpoint, which is the size of its tree.
    tree_size: Position,
    /// The audit path of RFC 9162, section 2.1.3: SHA-256 hashes in base64.
    hashes: Vec<String>,
    /// The newest checkpoint, as a signed note; null if the request names a checkpoint.
    checkpoint: Option<String>,
}

/// Proof that an event is in the signed log
///
/// Anyone may request the proof of a purchase by its id, which only the buyer knows. Proofs by position, and of other events, are for
/// auditors.
#[utoipa::path(
    get,
    path = "/api/events/{event}/proof",
    security(()),
    params(("event" = String, Path, description = "Log position or id of the event; the id of a purchase is the purchase id"), InclusionParameters),
    responses(
        (status = 200, description = "The proof", body = InclusionProof),
        (status = 400, description = "Invalid query parameter"),
        (status = 404, description = "Unknown event"),
        (status = 500, description = "The log is damaged, or is not the one that was signed; operators are alerted"),
        (status = 503, description = "A database is unreachable, or the event is not signed yet, which takes less than a second"),
    ),
)]
pub async fn get_inclusion_proof(
    State(sources): State<Arc<Sources>>,
    caller: Caller,
    path: Result<Path<String>, PathRejection>,
    Query(parameters): Query<InclusionParameters>,
) -> Result<Json<InclusionProof>, Problem> {
    let name = Name::of(path)?;
    // Ids are known to buyers only; positions can be guessed.
    if matches!(name, Name::Position(_)) {
        caller.require(Role::Auditor)?;
    }
    let event = get::find(&sources, name).await?;
    // Only auditors may learn that another event exists: its id may derive from a guessable key.
    if event.event_type != LICENSE_PURCHASED && !caller.roles.contains(&Role::Auditor) {
        return Err(get::unknown(name));
    }
    let mut tree = signed(&sources, event.position).await?;
    let newest = tree.position();
    let tree_size = parameters.checkpoint.unwrap_or(newest);
    if tree_size < event.position || tree_size > newest {
        let detail = format!("checkpoint is a position from {} to {newest}.", event.position);
        return Err(Problem::bad_request("invalid-query", "The checkpoint does not cover the event", detail));
    }
    let line = get::line(&event)?;
    let leaf_hash = record_hash(&line);
    let hashes = tree.inclusion(event.position, leaf_hash, tree_size).await?;
    Ok(Json(InclusionProof {
        leaf_hash: leaf_hash.to_string(),
        event: String::from_utf8(line).expect("JSON is UTF-8"),
        position: event.position,
        tree_size,
        hashes: base64(&hashes),
        checkpoint: parameters.checkpoint.is_none().then_some(tree.note),
    }))
}

fn base64(hashes: &[Hash]) -> Vec<String> {
    hashes.iter().map(ToString::to_string).collect()
}

/// The signed tree, once it covers the position, so that a buyer need not retry directly after the purchase.
async fn signed(sources: &Sources, position: Position) -> Result<SignedTree, Problem> {
    let deadline = Instant::now() + SIGNED_WITHIN;
    loop {
        // A tree that is not returned gives its connection to other requests.
        let newest = match SignedTree::find(sources).await? {
            Some(tree) if tree.position() >= position => return Ok(tree),
            tree => tree.map_or(Position::START, |tree| tree.position()),
        };
        if Instant::now() > deadline {
            let detail =
                format!("The log is signed up to position {newest}, not yet up to the event at position {position}.");
            return Err(Problem::unavailable(detail));
        }
        sleep(POLL_INTERVAL).await;
    }
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ConsistencyParameters {
    /// Position of the older checkpoint, which is the size of its tree.
    #[param(value_type = i64, minimum = 1)]
    from: Position,
    /// Position of the newer checkpoint; by default the newest.
    #[param(value_type = Option<i64>, minimum = 1)]
    to: Option<Position>,
}

/// Proof that the tree of one checkpoint begins with that of another.
#[derive(Serialize, ToSchema)]
pub struct ConsistencyProof {
    from: Position,
    to: Position,
    /// The proof of RFC 9162, section 2.1.4: SHA-256 hashes in base64.
    hashes: Vec<String>,
    /// The newest checkpoint, as a signed note; null if the request has `to`.
    checkpoint: Option<String>,
}

/// Proof that the log only grew between two checkpoints
///
/// If the operator has made the log public, it needs no token.
#[utoipa::path(
    get,
    path = "/api/events/consistency",
    security(("token" = ["auditor"])),
    params(ConsistencyParameters),
    responses(
        (status = 200, description = "The proof", body = ConsistencyProof),
        (status = 400, description = "Invalid query parameter"),
        (status = 500, description = "The transparency log is damaged, or is not the one that was signed; operators are alerted"),
        (status = 503, description = "The read model is unreachable, or no checkpoint is signed yet"),
    ),
)]
pub async fn get_consistency_proof(
    State(sources): State<Arc<Sources>>,
    Query(ConsistencyParameters { from, to }): Query<ConsistencyParameters>,
) -> Result<Json<ConsistencyProof>, Problem> {
    let mut tree = SignedTree::read(&sources).await?;
    let newest = tree.position();
    let size = to.unwrap_or(newest);
    if from == Position::START || from > size || size > newest {
        let detail = format!("Required: 1 ≤ from ≤ to ≤ {newest}, the position up to which the log is signed.");
        return Err(Problem::bad_request("invalid-query", "Unknown checkpoints", detail));
    }
    let hashes = tree.consistency(from, size).await?;
    Ok(Json(ConsistencyProof {
        from,
        to: size,
        hashes: base64(&hashes),
        checkpoint: to.is_none().then_some(tree.note),
    }))
}
