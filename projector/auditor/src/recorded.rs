//! The leaf hashes that the transparency log recorded. On their own they prove nothing, since they are stored in a database
//! too. Where a checkpoint confirms them, they show which event was changed.

use contract::position::Position;
use event_log::transparency::{
    self,
    merkle::{Hash, Proof, TILE_WIDTH, Tile, TileId, Tree, check_record, check_tree},
    signed_checkpoint::Checkpoint,
};
use sqlx::PgPool;

const HASH_SIZE: usize = size_of::<Hash>();
/// As positions count.
const WIDTH: i64 = 256;
const _: () = assert!(TILE_WIDTH == 256);

pub struct Recorded {
    read_model: PgPool,
    /// The last tile of level 1 that was read, with its index: one hash per 256 events.
    above: Option<(i64, Vec<u8>)>,
    /// The tree over the full tiles compared so far. Since a tile spans a power of two, its root equals that over their events.
    compared: Tree,
    difference: Option<Difference>,
}

/// The first event whose recorded hash differs.
struct Difference {
    position: Position,
    /// Its tile, as recorded.
    index: i64,
    noted: Vec<u8>,
}

impl Recorded {
    pub fn new(read_model: PgPool) -> Self {
        Self { read_model, above: None, compared: Tree::default(), difference: None }
    }

    pub fn first_difference(&self) -> Option<Position> {
        self.difference.as_ref().map(|difference| difference.position)
    }

    /// Compares the hashes of a tile, which may be partial. Tiles must be passed in order.
    pub async fn compare(&mut self, index: i64, hashes: &[u8]) -> sqlx::Result<()> {
        if self.difference.is_some() || hashes.is_empty() {
            return Ok(());
        }
        let full = (hashes.len() == TILE_WIDTH * HASH_SIZE).then(|| Tile::subtree_hash(hashes));
        if full.is_none() || self.noted(index).await? != full {
            let noted = self.tile(TileId { level: 0, index }).await?;
            let differs =
                noted.chunks(HASH_SIZE).zip(hashes.chunks(HASH_SIZE)).position(|(noted, found)| noted != found);
            if let Some(place) = differs {
                let place = i64::try_from(place).unwrap_or(i64::MAX);
                let position = Position::START.plus(index.saturating_mul(WIDTH)).plus(place + 1);
                self.difference = Some(Difference { position, index, noted });
                return Ok(());
            }
        }
        if let Some(hash) = full {
            self.compared.push(&hash, |_, _| ());
        }
        Ok(())
    }

    /// The first event that differs from the signed one, if the recorded hashes prove it against the checkpoint: the events of all
    /// earlier tiles and the recorded hash of this event are covered by the signature. An attacker may have changed recorded hashes
    /// as well, to make them point elsewhere.
    pub async fn first_change(&self, checkpoint: &Checkpoint) -> sqlx::Result<Option<Position>> {
        let Some(Difference { position, index, noted }) = &self.difference else { return Ok(None) };
        if *position > checkpoint.position {
            return Ok(None);
        }
        let (size, leaf) = (checkpoint.position.as_sequence(), position.as_sequence() - 1);
        let older = index.cast_unsigned() * TILE_WIDTH as u64;
        let is_proved = self.prove(Proof::Inclusion { leaf, size }, *index, noted).await?.is_some_and(|proof| {
            let place = usize::try_from(leaf - older).unwrap_or(usize::MAX);
            let hash = noted.chunks_exact(HASH_SIZE).nth(place).and_then(|hash| hash.try_into().ok()).map(Hash);
            hash.is_some_and(|hash| check_record(&proof, size, checkpoint.root, leaf, hash).is_ok())
        });
        let follows = older == 0
            || self
                .prove(Proof::Consistency { older, size }, *index, noted)
                .await?
                .is_some_and(|proof| check_tree(&proof, size, checkpoint.root, older, self.compared.root()).is_ok());
        Ok((is_proved && follows).then_some(*position))
    }

    /// A proof from recorded tiles, with one tile as read before. None if a tile is missing.
    async fn prove(&self, proof: Proof, index: i64, noted: &[u8]) -> sqlx::Result<Option<Vec<Hash>>> {
        let mut tiles = transparency::tiles(&self.read_model, &proof.tiles()).await?;
        tiles.insert(TileId { level: 0, index }, noted.to_vec());
        Ok(proof.from_tiles(&tiles).ok())
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
