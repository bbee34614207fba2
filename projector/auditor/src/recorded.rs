//! The hashes of single events that the transparency log noted when they were appended. They are worth nothing by themselves,
//! as they are in a database too; but where a checkpoint confirms them, they tell which event was changed.

use shared::{
    event_log::Position,
    merkle::{Hash, Proof, TILE_WIDTH, TileId, subtree_hash},
    transparency_log,
};
use sqlx::PgPool;

const HASH_SIZE: usize = size_of::<Hash>();

pub struct Recorded {
    read_model: PgPool,
    /// The tile of level 1 that was needed last, with its index: one hash for every 256 events.
    above: Option<(i64, Vec<u8>)>,
    /// The first event whose hash was another one when it was noted.
    first_difference: Option<Position>,
}

impl Recorded {
    pub fn new(read_model: PgPool) -> Self {
        Self { read_model, above: None, first_difference: None }
    }

    pub fn first_difference(&self) -> Option<Position> {
        self.first_difference
    }

    /// Compares the hashes of a tile's events, which may be less than a tile.
    pub async fn compare(&mut self, index: i64, hashes: &[u8]) -> sqlx::Result<()> {
        if self.first_difference.is_some() || hashes.is_empty() {
            return Ok(());
        }
        if hashes.len() == TILE_WIDTH * HASH_SIZE && self.noted(index).await? == Some(subtree_hash(hashes)) {
            return Ok(());
        }
        let noted = self.tile(TileId { level: 0, index }).await?;
        let differs = noted.chunks(HASH_SIZE).zip(hashes.chunks(HASH_SIZE)).position(|(noted, found)| noted != found);
        if let Some(place) = differs {
            let width = i64::try_from(TILE_WIDTH).unwrap_or(i64::MAX);
            let place = i64::try_from(place).unwrap_or(i64::MAX);
            self.first_difference = Some(Position::START.plus(index.saturating_mul(width)).plus(place + 1));
        }
        Ok(())
    }

    /// The root that the noted hashes have at a position; none where they are incomplete.
    pub async fn root(&self, position: Position) -> sqlx::Result<Option<Hash>> {
        // Made of the hashes of the events alone, as far as the events of a single tile go, and of what is noted above them.
        match transparency_log::prove(&self.read_model, Proof::Root { size: position.as_sequence() }).await {
            Ok(root) => Ok(root.first().copied()),
            Err(transparency_log::ReadError::Database(error)) => Err(error),
            Err(transparency_log::ReadError::Tile(_)) => Ok(None),
        }
    }

    /// The hash of a full tile.
    async fn noted(&mut self, index: i64) -> sqlx::Result<Option<Hash>> {
        let width = i64::try_from(TILE_WIDTH).unwrap_or(i64::MAX);
        let (above, place) = (index / width, usize::try_from(index % width).unwrap_or(usize::MAX));
        let tile = match self.above.take_if(|(known, _)| *known == above) {
            Some((_, tile)) => tile,
            None => self.tile(TileId { level: 1, index: above }).await?,
        };
        let hash = tile.chunks_exact(HASH_SIZE).nth(place).and_then(|hash| hash.try_into().ok()).map(Hash);
        self.above = Some((above, tile));
        Ok(hash)
    }

    async fn tile(&self, id: TileId) -> sqlx::Result<Vec<u8>> {
        let mut tiles = transparency_log::tiles(&self.read_model, &[id]).await?;
        Ok(tiles.remove(&id).unwrap_or_default())
    }
}
