//! The tree in the read model's database.

use std::collections::HashMap;

use contract::position::Position;
use event_log::transparency::{
    merkle::{TileId, Tree, needed},
    reader::{head, tiles},
};
use sqlx::{Connection, PgConnection, PgExecutor, PgPool};

use super::error::TransparencyError;

pub async fn load(snapshot: &mut PgConnection) -> Result<Tree, TransparencyError> {
    let (position, _) = head(&mut *snapshot).await?;
    let tiles = tiles(&mut *snapshot, &needed(position.as_sequence())).await?;
    Ok(Tree::restore(position.as_sequence(), &tiles)?)
}

/// The newest note that was stored, also if the tree was discarded since then, and the statements of operators.
pub async fn notes(read_model: impl PgExecutor<'_>) -> sqlx::Result<Vec<String>> {
    let notes = "select signed from tree_head where signed is not null union all select note from checkpoint_statement";
    sqlx::query_scalar(notes).fetch_all(read_model).await
}

/// Removes the end of a tree, unless it has changed meanwhile.
pub async fn cut_back(read_model: &PgPool, from: Position, to: Position) -> sqlx::Result<()> {
    sqlx::query("update tree_head set position = $2, checkpoint = null where position = $1")
        .bind(from.get())
        .bind(to.get())
        .execute(read_model)
        .await?;
    Ok(())
}

/// Stores the checkpoint of the empty log, unless there is a later one.
pub async fn begin(read_model: &PgPool, note: &str) -> sqlx::Result<()> {
    sqlx::query("update tree_head set signed = $1 where signed is null").bind(note).execute(read_model).await?;
    Ok(())
}

/// Stores a statement of an operator. The tree is discarded with a restore, as the log may be another one.
pub async fn decide(read_model: &PgPool, note: &str, discards_tree: bool) -> sqlx::Result<()> {
    let mut connection = read_model.acquire().await?;
    let mut transaction = connection.begin().await?;
    let insert = "insert into checkpoint_statement (note) values ($1) on conflict do nothing";
    sqlx::query(insert).bind(note).execute(&mut *transaction).await?;
    if discards_tree {
        discard_in(&mut transaction).await?;
    }
    transaction.commit().await
}

/// Removes the tree and its checkpoint. A running projector builds the tree again from the log, and signs it only if it passes
/// through the published checkpoints.
pub async fn discard(read_model: &PgPool) -> sqlx::Result<()> {
    let mut connection = read_model.acquire().await?;
    let mut transaction = connection.begin().await?;
    discard_in(&mut transaction).await?;
    transaction.commit().await
}

async fn discard_in(transaction: &mut PgConnection) -> sqlx::Result<()> {
    sqlx::query("update tree_head set position = 0, checkpoint = null").execute(&mut *transaction).await?;
    sqlx::query("truncate tree_tile").execute(transaction).await?;
    Ok(())
}

/// Stores a tree that has grown since `from`. Returns false, and changes nothing, when the stored one is no longer at `from`.
pub async fn grow(
    read_model: &PgPool,
    from: Position,
    tree: &Tree,
    mut tiles: HashMap<TileId, Vec<u8>>,
    checkpoint: Option<&str>,
) -> sqlx::Result<bool> {
    let mut connection = read_model.acquire().await?;
    let mut transaction = connection.begin().await?;
    let moved = sqlx::query(
        "update tree_head set position = $2, checkpoint = $3, signed = coalesce($3, signed) where position = $1",
    )
    .bind(from.get())
    .bind(Position::from_sequence(tree.size()).get())
    .bind(checkpoint)
    .execute(&mut *transaction)
    .await?;
    if moved.rows_affected() == 0 {
        return Ok(false);
    }
    if let Some(note) = checkpoint {
        keep(&mut transaction, Position::from_sequence(tree.size()), note).await?;
    }
    tiles.extend(tree.unfinished().map(|(id, tile)| (id, tile.to_vec())));
    write(&mut transaction, tiles).await?;
    transaction.commit().await?;
    Ok(true)
}

async fn write(transaction: &mut PgConnection, tiles: HashMap<TileId, Vec<u8>>) -> sqlx::Result<()> {
    let (mut levels, mut indexes, mut hashes) = (Vec::new(), Vec::new(), Vec::new());
    for (id, tile) in tiles {
        levels.push(id.level);
        indexes.push(id.index);
        hashes.push(tile);
    }
    sqlx::query(
        "insert into tree_tile (level, index, hashes) select * from unnest($1::smallint[], $2::bigint[], $3::bytea[])
         on conflict (level, index) do update set hashes = excluded.hashes",
    )
    .bind(levels)
    .bind(indexes)
    .bind(hashes)
    .execute(transaction)
    .await?;
    Ok(())
}

/// Keeps a checkpoint for those who ask for it by its size, in place of the previous one if that is from the same minute.
async fn keep(transaction: &mut PgConnection, position: Position, note: &str) -> sqlx::Result<()> {
    let keep = sqlx::query(include_str!("../sql/keep_checkpoint.sql"));
    keep.bind(position.get()).bind(note).execute(transaction).await?;
    Ok(())
}
