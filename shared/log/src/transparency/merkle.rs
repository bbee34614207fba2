//! The Merkle tree over the log: the event at position n is leaf n - 1, and its hash is that of its line.
//!
//! Source: RFC 6962, section 2.1, for the hashes; C2SP tlog-tiles for their storage in tiles of 256, where the hash of a full
//! tile is an entry of a tile on the level above. Every hash of the tree follows from the tiles.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
};

use tlog_tiles::{Error, HASH_SIZE, HashReader, prove_record, prove_tree, tree_hash};
pub use tlog_tiles::{Hash, Tile, check_record, check_tree, node_hash, record_hash};

/// A tile is 2 to the power of this wide.
pub const HEIGHT: u8 = 8;
pub const TILE_WIDTH: usize = 1 << HEIGHT;

/// The level of a tile, from 0 for the leaves, and its index on that level.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct TileId {
    pub level: i16,
    pub index: i64,
}

/// The right edge of a tree: the partial tile of every level. It suffices to append leaves and to compute the root.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tree {
    size: u64,
    ends: Vec<Vec<u8>>,
    last_leaf: Option<Hash>,
}

impl Tree {
    /// A tree of `size` leaves, from the tiles that [`needed`] names.
    pub fn restore(size: u64, tiles: &HashMap<TileId, Vec<u8>>) -> Result<Self, MissingTile> {
        let mut ends = Vec::new();
        for (id, width) in unfinished(size) {
            let tile = tiles.get(&id).and_then(|tile| tile.get(..width * HASH_SIZE)).ok_or(MissingTile(id))?;
            ends.resize(usize::try_from(id.level).expect("a level"), Vec::new());
            ends.push(tile.to_vec());
        }
        let last_leaf = match tile_of_last_leaf(size) {
            Some((id, place)) => {
                let hashes = tiles.get(&id).map(Vec::as_slice).unwrap_or_default();
                let hash = hashes.chunks_exact(HASH_SIZE).nth(place).and_then(|hash| hash.try_into().ok());
                Some(Hash(hash.ok_or(MissingTile(id))?))
            }
            None => None,
        };
        Ok(Self { size, ends, last_leaf })
    }

    pub const fn size(&self) -> u64 {
        self.size
    }

    pub const fn last_leaf(&self) -> Option<Hash> {
        self.last_leaf
    }

    /// Appends a leaf, and calls `full` with each tile that it fills.
    pub fn push(&mut self, leaf: &Hash, mut full: impl FnMut(TileId, Vec<u8>)) {
        let mut hash = *leaf;
        for level in 0_u8.. {
            if self.ends.len() == usize::from(level) {
                self.ends.push(Vec::with_capacity(TILE_WIDTH * HASH_SIZE));
            }
            let end = &mut self.ends[usize::from(level)];
            end.extend_from_slice(&hash.0);
            if end.len() < TILE_WIDTH * HASH_SIZE {
                break;
            }
            hash = Tile::subtree_hash(end);
            let index = i64::try_from(self.size >> (HEIGHT * (level + 1))).expect("positions are i64");
            full(TileId { level: level.into(), index }, std::mem::take(end));
        }
        self.size += 1;
        self.last_leaf = Some(*leaf);
    }

    /// The partial tiles.
    pub fn unfinished(&self) -> impl Iterator<Item = (TileId, &[u8])> {
        unfinished(self.size).map(|(id, _)| (id, self.ends[usize::try_from(id.level).expect("a level")].as_slice()))
    }

    pub fn root(&self) -> Hash {
        tree_hash(self.size, &Ends(self)).expect("the right edge has every hash of the root")
    }
}

/// The partial tiles of a tree, and the number of hashes in each.
pub fn unfinished(size: u64) -> impl Iterator<Item = (TileId, usize)> {
    (0_u8..8).filter_map(move |level| {
        let hashes = size.checked_shr(u32::from(HEIGHT * level))?;
        let width = usize::try_from(hashes % TILE_WIDTH as u64).expect("less than a tile");
        let index = i64::try_from(hashes >> HEIGHT).expect("positions are i64");
        (width > 0).then_some((TileId { level: level.into(), index }, width))
    })
}

/// The tiles from which a tree is restored: the partial ones, and the one with the last leaf.
pub fn needed(size: u64) -> Vec<TileId> {
    let mut tiles: Vec<_> = unfinished(size).map(|(id, _)| id).collect();
    tiles.extend(tile_of_last_leaf(size).map(|(id, _)| id).filter(|id| !tiles.contains(id)));
    tiles
}

fn tile_of_last_leaf(size: u64) -> Option<(TileId, usize)> {
    let leaf = size.checked_sub(1)?;
    let place = usize::try_from(leaf % TILE_WIDTH as u64).expect("less than a tile");
    Some((TileId { level: 0, index: i64::try_from(leaf >> HEIGHT).expect("positions are i64") }, place))
}

#[derive(Debug, thiserror::Error)]
#[error("tile {} on level {} is missing or too short", .0.index, .0.level)]
pub struct MissingTile(pub TileId);

struct Ends<'a>(&'a Tree);

impl HashReader for Ends<'_> {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<Hash>, Error> {
        let hash = |index: &u64| {
            let tile = Tile::from_index(HEIGHT, *index);
            let end = self.0.ends.get(usize::from(tile.level())).ok_or(Error::IndexesNotInTree)?;
            tile.hash_at_index(end, *index)
        };
        indexes.iter().map(hash).collect()
    }
}

/// A statement about a tree.
#[derive(Clone, Copy, Debug)]
pub enum Proof {
    /// The leaf is in the tree of this size.
    Inclusion { leaf: u64, size: u64 },
    /// The tree extends the older one.
    Consistency { older: u64, size: u64 },
    /// The root of the tree.
    Root { size: u64 },
}

impl Proof {
    /// The tiles that the proof needs.
    pub fn tiles(self) -> Vec<TileId> {
        let requested = Requested::default();
        // The proof fails, but the reader records the indexes that it requested.
        let _ = self.make(&requested);
        requested.tiles.into_inner()
    }

    /// The hashes of the proof, from the tiles.
    pub fn from_tiles(self, tiles: &HashMap<TileId, Vec<u8>>) -> Result<Vec<Hash>, MissingTile> {
        let reader = Tiles { tiles, missing: Cell::new(TileId { level: 0, index: 0 }) };
        self.make(&reader).map_err(|_| MissingTile(reader.missing.get()))
    }

    fn make(self, reader: &impl HashReader) -> Result<Vec<Hash>, Error> {
        match self {
            Self::Inclusion { leaf, size } => prove_record(size, leaf, reader),
            Self::Consistency { older: 0, .. } => Ok(Vec::new()),
            Self::Consistency { older, size } => prove_tree(size, older, reader),
            Self::Root { size } => Ok(vec![tree_hash(size, reader)?]),
        }
    }
}

fn id(tile: Tile) -> TileId {
    TileId { level: tile.level().into(), index: i64::try_from(tile.level_index()).expect("positions are i64") }
}

#[derive(Default)]
struct Requested {
    tiles: RefCell<Vec<TileId>>,
}

impl HashReader for Requested {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<Hash>, Error> {
        let mut tiles: Vec<_> = indexes.iter().map(|index| id(Tile::from_index(HEIGHT, *index))).collect();
        tiles.sort_unstable();
        tiles.dedup();
        self.tiles.replace(tiles);
        Err(Error::IndexesNotInTree)
    }
}

struct Tiles<'a> {
    tiles: &'a HashMap<TileId, Vec<u8>>,
    /// The tile requested last: on an error, the missing one.
    missing: Cell<TileId>,
}

impl HashReader for Tiles<'_> {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<Hash>, Error> {
        let hash = |index: &u64| {
            let tile = Tile::from_index(HEIGHT, *index);
            self.missing.set(id(tile));
            let hashes = self.tiles.get(&id(tile)).ok_or(Error::IndexesNotInTree)?;
            tile.hash_at_index(hashes, *index)
        };
        indexes.iter().map(hash).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaf(n: u64) -> Hash {
        record_hash(n.to_string().as_bytes())
    }

    /// Every stored tile of a tree, full or partial.
    fn grow(sizes: impl IntoIterator<Item = u64>) -> (HashMap<TileId, Vec<u8>>, HashMap<u64, Hash>) {
        let (mut tree, mut tiles, mut roots) = (Tree::default(), HashMap::new(), HashMap::new());
        for size in sizes {
            while tree.size() < size {
                tree.push(&leaf(tree.size()), |id, tile| drop(tiles.insert(id, tile)));
            }
            tiles.extend(tree.unfinished().map(|(id, tile)| (id, tile.to_vec())));
            roots.insert(size, tree.root());
        }
        (tiles, roots)
    }

    /// RFC 6962, section 2.1, word for word.
    fn root_by_definition(from: u64, until: u64) -> Hash {
        if until - from == 1 {
            return leaf(from);
        }
        let split = from + (until - from).next_power_of_two() / 2;
        node_hash(root_by_definition(from, split), root_by_definition(split, until))
    }

    #[test]
    fn the_root_is_that_of_rfc_6962() {
        let (_, roots) = grow((1..=600).chain([65_535, 65_536, 65_537, 70_000]));
        for (size, root) in roots {
            assert_eq!(root, root_by_definition(0, size), "of {size} leaves");
        }
    }

    #[test]
    fn a_tree_restored_at_any_size_grows_like_the_original() {
        let (tiles, roots) = grow([1, 255, 256, 257, 511, 512, 65_535, 65_536, 65_537, 66_000]);
        for (size, root) in &roots {
            let needed = needed(*size).into_iter().map(|id| (id, tiles[&id].clone())).collect();
            let mut tree = Tree::restore(*size, &needed).unwrap();
            assert_eq!((tree.root(), tree.size(), tree.last_leaf()), (*root, *size, Some(leaf(*size - 1))));
            while tree.size() < 66_000 {
                tree.push(&leaf(tree.size()), |_, _| ());
            }
            assert_eq!(tree.root(), roots[&66_000], "grown from {size}");
        }
        assert!(Tree::restore(66_001, &tiles).is_err());
    }

    #[test]
    fn every_leaf_and_every_older_tree_can_be_proved_from_the_tiles() {
        let sizes = [1, 2, 3, 255, 256, 257, 300, 70_000];
        let (tiles, roots) = grow(sizes);
        for size in sizes {
            let proved = |proof: Proof| {
                let needed: HashMap<_, _> = proof.tiles().into_iter().map(|id| (id, tiles[&id].clone())).collect();
                proof.from_tiles(&needed).unwrap()
            };
            assert_eq!(proved(Proof::Root { size }), [roots[&size]]);
            for n in [0, 1, 2, 254, 255, 256, 299, 69_999].into_iter().filter(|n| *n < size) {
                let proof = proved(Proof::Inclusion { leaf: n, size });
                check_record(&proof, size, roots[&size], n, leaf(n)).unwrap();
                assert!(check_record(&proof, size, roots[&size], n, leaf(n + 1)).is_err());
            }
            for older in sizes.into_iter().filter(|older| *older <= size) {
                let proof = proved(Proof::Consistency { older, size });
                check_tree(&proof, size, roots[&size], older, roots[&older]).unwrap();
                assert!(check_tree(&proof, size, roots[&size], older, leaf(7)).is_err());
            }
        }
    }
}
