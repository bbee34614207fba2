//! `GET /api/events/consistency`: proof that the log only grew between two checkpoints.

use std::sync::Arc;

use axum::{Json, extract::State};
use contract::position::Position;
use event_log::transparency::{self, merkle::Proof};
use runtime::http::problem::{Problem, Query};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    Sources,
    checkpoint::{self, transparency_problem},
};

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Parameters {
    /// Position of the older checkpoint, which is also the size of its tree.
    #[param(value_type = i64, minimum = 1)]
    from: Position,
    /// Position of the newer one; the newest if it is left out.
    #[param(value_type = Option<i64>, minimum = 1)]
    to: Option<Position>,
}

/// That the tree of one checkpoint begins with that of another.
#[derive(Serialize, ToSchema)]
pub struct ConsistencyProof {
    from: Position,
    to: Position,
    /// The proof of RFC 9162, section 2.1.4: SHA-256 hashes in base64.
    hashes: Vec<String>,
    /// The newest checkpoint, as a signed note, unless `to` asked for another one.
    checkpoint: Option<String>,
}

/// Proof that the log only grew between two checkpoints
#[utoipa::path(
    get,
    path = "/api/events/consistency",
    security(("token" = ["auditor"])),
    params(Parameters),
    responses(
        (status = 200, description = "The proof", body = ConsistencyProof),
        (status = 400, description = "Invalid query parameter", body = Problem, content_type = "application/problem+json"),
        (status = 500, description = "The transparency log is damaged: an alarm for operators", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The read model does not answer, or no checkpoint is signed yet", body = Problem,
            content_type = "application/problem+json", headers(("Retry-After" = u32, description = "Seconds"))),
    ),
)]
pub async fn get_consistency_proof(
    State(sources): State<Arc<Sources>>,
    Query(Parameters { from, to }): Query<Parameters>,
) -> Result<Json<ConsistencyProof>, Problem> {
    let (newest, note) = checkpoint::newest(&sources).await?;
    let size = to.unwrap_or(newest);
    if from == Position::START || from > size || size > newest {
        let detail = format!("from and to are positions with 1 ≤ from ≤ to ≤ {newest}, up to which the log is signed.");
        return Err(Problem::bad_request("invalid-query", "There are no such checkpoints", detail));
    }
    let proof = Proof::Consistency { older: from.as_sequence(), size: size.as_sequence() };
    let hashes = transparency::prove(&sources.read_model, proof).await.map_err(|error| transparency_problem(&error))?;
    let hashes = hashes.iter().map(ToString::to_string).collect();
    Ok(Json(ConsistencyProof { from, to: size, hashes, checkpoint: to.is_none().then_some(note) }))
}
