//! The transparency log in the read model: the newest signed checkpoint and the tiles of the tree.

use std::collections::HashMap;

use sqlx::{PgExecutor, PgPool, Postgres, Row, Transaction};

use super::merkle::{Hash, MissingTile, Proof, TileId};
use crate::row;
use contract::position::Position;

#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("the read model cannot be read: {0}")]
    Database(#[from] sqlx::Error),
    #[error("the transparency log is damaged: {0}")]
    Tile(#[from] MissingTile),
}

/// A snapshot of the checkpoint and the tiles. The lock comes first, since a snapshot does not protect from `truncate`, with which
/// `projector rebuild --tree` discards the tiles.
pub async fn snapshot(read_model: &PgPool) -> sqlx::Result<Transaction<'static, Postgres>> {
    let begin = "begin isolation level repeatable read, read only; lock table tree_tile in access share mode";
    read_model.begin_with(begin).await
}

/// The size of the tree, and its newest signed checkpoint; `None` before the first.
pub async fn head(read_model: impl PgExecutor<'_>) -> sqlx::Result<(Position, Option<String>)> {
    let row = sqlx::query("select position, checkpoint from tree_head").fetch_one(read_model).await?;
    Ok((row::position(&row, "position")?, row.try_get("checkpoint")?))
}

/// Signed statements of operators on the log.
pub async fn statements(read_model: impl PgExecutor<'_>) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar("select note from checkpoint_statement order by note").fetch_all(read_model).await
}

/// The newest checkpoint that a quorum of witnesses has cosigned, with their cosignatures; `None` before the first.
pub async fn cosigned(read_model: impl PgExecutor<'_>) -> sqlx::Result<Option<String>> {
    sqlx::query_scalar("select note from cosigned_checkpoint").fetch_optional(read_model).await
}

/// The existing ones of these tiles, full or partial.
pub async fn tiles(read_model: impl PgExecutor<'_>, ids: &[TileId]) -> sqlx::Result<HashMap<TileId, Vec<u8>>> {
    let rows = sqlx::query(
        "select level, index, hashes from tree_tile join unnest($1::smallint[], $2::bigint[]) as asked (level, index)
         using (level, index)",
    )
    .bind(ids.iter().map(|id| id.level).collect::<Vec<_>>())
    .bind(ids.iter().map(|id| id.index).collect::<Vec<_>>())
    .fetch_all(read_model)
    .await?;
    let tile = |row: &sqlx::postgres::PgRow| {
        let id = TileId { level: row.try_get("level")?, index: row.try_get("index")? };
        Ok((id, row.try_get("hashes")?))
    };
    rows.iter().map(tile).collect()
}

/// The hashes of a proof.
pub async fn prove(read_model: impl PgExecutor<'_>, proof: Proof) -> Result<Vec<Hash>, ReadError> {
    let tiles = tiles(read_model, &proof.tiles()).await?;
    Ok(proof.from_tiles(&tiles)?)
}
