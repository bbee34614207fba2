//! The transparency log as its readers find it in the read model: the newest signed checkpoint, and the tiles of the tree.

use std::collections::HashMap;

use sqlx::{PgExecutor, Row};

use super::merkle::{Hash, MissingTile, Proof, TileId};
use contract::position::Position;

#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("the read model cannot be read: {0}")]
    Database(#[from] sqlx::Error),
    #[error("the transparency log is damaged: {0}")]
    Tile(#[from] MissingTile),
}

/// How far the tree has come, and its newest checkpoint as it was signed; `None` before the first.
pub async fn head(read_model: impl PgExecutor<'_>) -> sqlx::Result<(Position, Option<String>)> {
    let row = sqlx::query("select position, checkpoint from tree_head").fetch_one(read_model).await?;
    let position: i64 = row.try_get("position")?;
    let position = position.try_into().map_err(|error| sqlx::Error::Decode(Box::new(error)))?;
    Ok((position, row.try_get("checkpoint")?))
}

/// Those of the tiles that exist, full or as far as they have come.
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

/// The hashes of a proof about the tree.
pub async fn prove(read_model: impl PgExecutor<'_>, proof: Proof) -> Result<Vec<Hash>, ReadError> {
    let tiles = tiles(read_model, &proof.tiles()).await?;
    Ok(proof.from_tiles(&tiles)?)
}
