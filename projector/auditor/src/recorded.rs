//! The leaf hashes that the transparency log recorded. On their own they prove nothing, since they are stored in a database too.
//! Where no checkpoint shows which of both was changed, a difference is still a fault.

use contract::position::Position;
use event_log::transparency::{
    self,
    merkle::{Hash, TILE_WIDTH, TileId},
};
use sqlx::PgPool;

const HASH_SIZE: usize = size_of::<Hash>();
/// As positions count.
const WIDTH: i64 = 256;
const _: () = assert!(TILE_WIDTH == 256);

/// The events of a tile: all of them with the root of its tree, or the first ones.
pub struct Leaves {
    pub index: i64,
    pub hashes: Vec<Hash>,
    pub root: Option<Hash>,
}

pub struct Recorded {
    read_model: PgPool,
    /// The last tile of level 1 that was read, with its index: one hash per 256 events.
    above: Option<(i64, Vec<u8>)>,
    pub first_difference: Option<Position>,
}

impl Recorded {
    pub fn new(read_model: PgPool) -> Self {
        Self { read_model, above: None, first_difference: None }
    }

    /// Compares the hashes of a tile. Tiles must be passed in order.
    pub async fn compare(&mut self, Leaves { index, hashes, root }: &Leaves) -> sqlx::Result<()> {
        if self.first_difference.is_some() || hashes.is_empty() {
            return Ok(());
        }
        if root.is_none() || self.noted(*index).await? != *root {
            let noted = self.tile(TileId { level: 0, index: *index }).await?;
            let differs = noted.chunks(HASH_SIZE).zip(hashes).position(|(noted, found)| *noted != found.0);
            let position = |place| Position::START.plus(index.saturating_mul(WIDTH)).plus(place + 1);
            self.first_difference = differs.map(|place| position(i64::try_from(place).unwrap_or(i64::MAX)));
        }
        Ok(())
    }

    /// The hash of a full tile.
    async fn noted(&mut self, index: i64) -> sqlx::Result<Option<Hash>> {
        let (above, place) = (index / WIDTH, usize::try_from(index % WIDTH).unwrap_or(usize::MAX));
        let tile = match self.above.take_if(|(known, _)| *known == above) {
            Some((_, tile)) => tile,
            None => self.tile(TileId { level: 1, index: above }).await?,
        };
        let hash = tile.chunks_exact(HASH_SIZE).nth(place).and_then(|hash| hash.try_into().ok()).map(Hash);
        self.above = Some((above, tile));
        Ok(hash)
    }

    async fn tile(&self, id: TileId) -> sqlx::Result<Vec<u8>> {
        let mut tiles = transparency::tiles(&self.read_model, &[id]).await?;
        Ok(tiles.remove(&id).unwrap_or_default())
    }
}
