//! The right edge of a Merkle tree as the roots of its full subtrees, from the largest to the smallest: enough to append
//! leaves and to compute the root. A consistency proof contains those of the older tree.
//!
//! Source: RFC 9162, sections 2.1.2 and 2.1.4.2.

use contract::position::Position;
use event_log::transparency::merkle::{Hash, Tree, node_hash};

/// The peaks of a tree.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Peaks {
    /// Number of leaves, and root.
    peaks: Vec<(u64, Hash)>,
}

impl Peaks {
    /// Appends a leaf, and calls `full` with each subtree that it completes.
    pub fn push(&mut self, leaf: Hash, mut full: impl FnMut(u64, Hash)) {
        let (mut leaves, mut hash) = (1, leaf);
        while let Some((_, left)) = self.peaks.pop_if(|(size, _)| *size == leaves) {
            (leaves, hash) = (2 * leaves, node_hash(left, hash));
            full(leaves, hash);
        }
        self.peaks.push((leaves, hash));
    }

    pub fn size(&self) -> u64 {
        self.peaks.iter().map(|(leaves, _)| leaves).sum()
    }

    /// The position of the last event.
    pub fn position(&self) -> Position {
        Position::from_sequence(self.size())
    }

    pub fn root(&self) -> Hash {
        let roots = self.peaks.iter().map(|(_, root)| *root).rev();
        roots.reduce(|right, left| node_hash(left, right)).unwrap_or_else(|| Tree::default().root())
    }

    /// The root of the largest full subtree.
    pub fn first(&self) -> Option<Hash> {
        self.peaks.first().map(|(_, root)| *root)
    }

    /// A tree of which only the root is known. It can be extended if its size is a power of two.
    pub fn of_root(size: u64, root: Hash) -> Self {
        Self { peaks: if size > 0 { vec![(size, root)] } else { Vec::new() } }
    }

    /// Those of the older tree, from the proof that a tree of `size` leaves with this root begins with it; none if the proof proves
    /// nothing about this root. If the older size is a power of two, the proof does not contain the older tree's root.
    pub fn from_proof(older: u64, size: u64, root: Hash, proof: &[Hash]) -> Option<Self> {
        if older == 0 || older >= size || older.is_power_of_two() {
            return None;
        }
        let (first, rest) = proof.split_first()?;
        let skipped = (older - 1).trailing_ones();
        let (mut place, mut last) = ((older - 1) >> skipped, (size - 1) >> skipped);
        let (mut found, mut peaks) = (*first, vec![*first]);
        for hash in rest {
            if last == 0 {
                return None;
            }
            if place & 1 == 1 || place == last {
                found = node_hash(*hash, found);
                peaks.push(*hash);
                while place & 1 == 0 && place != 0 {
                    (place, last) = (place >> 1, last >> 1);
                }
            } else {
                found = node_hash(found, *hash);
            }
            (place, last) = (place >> 1, last >> 1);
        }
        let sizes = (0..u64::BITS).rev().map(|bit| older & (1 << bit)).filter(|size| *size > 0);
        let is_proved = last == 0 && found == root && peaks.len() == older.count_ones() as usize;
        is_proved.then(|| Self { peaks: sizes.zip(peaks.into_iter().rev()).collect() })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use event_log::transparency::merkle::{Proof, TileId, record_hash};

    use super::*;

    #[test]
    fn peaks_have_the_root_of_the_tree_and_follow_from_each_proof_of_it() {
        let (mut tree, mut peaks, mut all) = (Tree::default(), Peaks::default(), vec![Peaks::default()]);
        assert_eq!(peaks.root(), tree.root());
        for n in 0..70_u64 {
            let leaf = record_hash(&n.to_be_bytes());
            tree.push(&leaf, |_, _| ());
            peaks.push(leaf, |_, _| ());
            assert_eq!((peaks.root(), peaks.size()), (tree.root(), n + 1));
            all.push(peaks.clone());
            let (size, root) = (tree.size(), tree.root());
            let tiles: HashMap<TileId, Vec<u8>> = tree.unfinished().map(|(id, tile)| (id, tile.to_vec())).collect();
            for older in 1..size {
                let proof = Proof::Consistency { older, size }.from_tiles(&tiles).unwrap();
                let found = Peaks::from_proof(older, size, root, &proof);
                assert_eq!(found, (!older.is_power_of_two()).then(|| all[usize::try_from(older).unwrap()].clone()));
                for damaged in 0..proof.len() {
                    let mut proof = proof.clone();
                    proof[damaged].0[0] ^= 1;
                    assert_eq!(Peaks::from_proof(older, size, root, &proof), None, "{older} of {size}");
                }
                let longer: Vec<_> = proof.iter().copied().chain([root]).collect();
                assert_eq!(Peaks::from_proof(older, size, root, &longer), None, "{older} of {size}");
                assert_eq!(Peaks::from_proof(older, size, root, &proof[1..]), None, "{older} of {size}");
            }
        }
    }
}
