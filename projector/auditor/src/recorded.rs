//! The hashes of single events that the transparency log noted when they were appended. They are worth nothing by themselves,
//! as they are in a database too; but where a checkpoint confirms them, they tell which event was changed.

use contract::position::Position;
use event_log::transparency::{
    self,
    merkle::{Hash, Proof, TILE_WIDTH, TileId, Tree, check_record, check_tree, subtree_hash},
    signed_checkpoint::Checkpoint,
};
use sqlx::PgPool;

const HASH_SIZE: usize = size_of::<Hash>();
/// As positions count.
const WIDTH: i64 = 256;
const _: () = assert!(TILE_WIDTH == 256);

pub struct Recorded {
    read_model: PgPool,
    /// The tile of level 1 that was needed last, with its index: one hash for every 256 events.
    above: Option<(i64, Vec<u8>)>,
    /// The tree over the full tiles that were compared. Its root is that over their events, as a tile is as wide as a power of two.
    compared: Tree,
    difference: Option<Difference>,
}

/// The first event whose hash was another one when it was noted.
struct Difference {
    position: Position,
    /// Its tile, and what was noted there.
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

    /// Compares the hashes of a tile's events, which may be less than a tile. The tiles come one after the other.
    pub async fn compare(&mut self, index: i64, hashes: &[u8]) -> sqlx::Result<()> {
        if self.difference.is_some() || hashes.is_empty() {
            return Ok(());
        }
        let full = (hashes.len() == TILE_WIDTH * HASH_SIZE).then(|| subtree_hash(hashes));
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

    /// The first event that is not the one that was signed, if what was noted proves it to the checkpoint: that all events of the tiles
    /// before are those that were signed, and that the hash was, with which the event disagrees. Whoever changes the log may have changed
    /// what was noted as well, so that it points somewhere else.
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

    /// A proof of what was noted, with a tile as it was read before; none where something is missing.
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
