//! The tree over a dealer's shares: its root is signed once, and each holder checks its own leaf.
//!
//! Leaves and nodes are hashed under different labels. A node without a sibling moves up unchanged, so the
//! shape depends on the number of leaves alone, which both sides know.

use crate::messages::{ClientId, ShareCommitments};
use crate::transcript::{Transcript, sha256};

/// The leaf of one share.
pub(crate) fn leaf(holder: ClientId, ciphertext: &[u8], commitments: &ShareCommitments) -> [u8; 32] {
    let leaf = Transcript::new("leaf")
        .client(holder)
        .bytes(&sha256(ciphertext))
        .bytes(&commitments.round_seed)
        .bytes(&commitments.self_mask);
    commitments.noise.iter().fold(leaf, |leaf, commitment| leaf.bytes(commitment)).finish()
}

/// A dealer's whole tree, so that the paths of all holders cost one hashing of it.
#[derive(Debug, Clone)]
pub(crate) struct Tree {
    leaves: Vec<[u8; 32]>,
    /// From the leaves' parents up to the root.
    above: Vec<Vec<[u8; 32]>>,
}

impl Tree {
    pub(crate) fn new(leaves: Vec<[u8; 32]>) -> Self {
        let mut above: Vec<Vec<[u8; 32]>> = Vec::new();
        while above.last().unwrap_or(&leaves).len() > 1 {
            above.push(parents(above.last().unwrap_or(&leaves)));
        }
        Self { leaves, above }
    }

    /// The root; all zeros over no leaves.
    pub(crate) fn root(&self) -> [u8; 32] {
        self.above.last().unwrap_or(&self.leaves).first().copied().unwrap_or_default()
    }

    /// The siblings from leaf `index` up to below the root.
    pub(crate) fn path(&self, index: usize) -> Vec<[u8; 32]> {
        let levels = std::iter::once(&self.leaves).chain(&self.above);
        let places = std::iter::successors(Some(index), |place| Some(place / 2));
        levels.zip(places).filter_map(|(level, place)| level.get(place ^ 1)).copied().collect()
    }
}

/// The root that `path` leads to from leaf `index` of `count`, unless the path has the wrong length.
pub(crate) fn root_of_path(
    leaf: [u8; 32],
    index: usize,
    count: usize,
    path: &[[u8; 32]],
) -> Option<[u8; 32]> {
    let mut hash = leaf;
    let mut position = index;
    let mut width = count;
    let mut siblings = path.iter();
    while width > 1 {
        if position ^ 1 < width {
            let sibling = siblings.next()?;
            hash = if position.is_multiple_of(2) { node(&hash, sibling) } else { node(sibling, &hash) };
        }
        position /= 2;
        width = width.div_ceil(2);
    }
    siblings.next().is_none().then_some(hash)
}

fn parents(level: &[[u8; 32]]) -> Vec<[u8; 32]> {
    level
        .chunks(2)
        .filter_map(|pair| match pair {
            [left, right] => Some(node(left, right)),
            [single] => Some(*single),
            _ => None,
        })
        .collect()
}

fn node(left: &[u8; 32], right: &[u8; 32]) -> [u8; 32] {
    Transcript::new("node").bytes(left).bytes(right).finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaves(count: usize) -> Vec<[u8; 32]> {
        (0..count).map(|i| Transcript::new("test").u64(i as u64).finish()).collect()
    }

    #[test]
    fn every_leaf_of_every_size_leads_to_the_root() {
        for count in 1..=33 {
            let leaves = leaves(count);
            let tree = Tree::new(leaves.clone());
            for (index, leaf) in leaves.iter().enumerate() {
                let path = tree.path(index);
                assert_eq!(root_of_path(*leaf, index, count, &path), Some(tree.root()), "{index} of {count}");
            }
        }
    }

    #[test]
    fn a_path_of_another_leaf_place_or_length_does_not() {
        let leaves = leaves(7);
        let tree = Tree::new(leaves.clone());
        let (root, path) = (tree.root(), tree.path(3));
        assert_ne!(root_of_path(leaves[2], 3, 7, &path), Some(root));
        assert_ne!(root_of_path(leaves[3], 2, 7, &path), Some(root));
        assert_eq!(root_of_path(leaves[3], 3, 7, &path[1..]), None);
        let longer: Vec<_> = path.iter().chain([&[0; 32]]).copied().collect();
        assert_eq!(root_of_path(leaves[3], 3, 7, &longer), None);
        for place in 0..path.len() {
            let mut tampered = path.clone();
            tampered[place][0] ^= 1;
            assert_ne!(root_of_path(leaves[3], 3, 7, &tampered), Some(root));
        }
    }
}
