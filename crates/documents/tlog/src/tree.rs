//! The Merkle tree: hashes, proofs made from a reader of hashes, and their verification.

use sha2::{Digest as _, Sha256};

/// A SHA-256 digest: of a leaf, of a node, or a root.
pub type Hash = [u8; 32];

/// Hash of an entry as a leaf.
pub fn leaf_hash(entry: &[u8]) -> Hash {
    Sha256::new().chain_update([0]).chain_update(entry).finalize().into()
}

/// Hash of two subtrees as one.
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    Sha256::new().chain_update([1]).chain_update(left).chain_update(right).finalize().into()
}

/// Root of the first `size` entries.
///
/// `read(level, index)` gives the hash of the complete subtree over the entries from `index << level` to
/// `(index + 1) << level`; so do the proofs.
///
/// # Errors
///
/// Those of `read`.
pub fn root<E>(size: u64, read: &mut impl FnMut(u8, u64) -> Result<Hash, E>) -> Result<Hash, E> {
    subtree(0, size, read)
}

/// Proof that the entry at `index` is among the first `size`; lowest sibling first.
///
/// An index outside the tree gives an empty proof, which proves nothing.
///
/// # Errors
///
/// Those of `read`.
pub fn inclusion_proof<E>(
    index: u64,
    size: u64,
    read: &mut impl FnMut(u8, u64) -> Result<Hash, E>,
) -> Result<Vec<Hash>, E> {
    let mut proof = Vec::new();
    if index >= size {
        return Ok(proof);
    }
    let (mut start, mut length) = (0, size);
    while length > 1 {
        let left = left_half(length);
        if index < start + left {
            proof.push(subtree(start + left, length - left, read)?);
            length = left;
        } else {
            proof.push(subtree(start, left, read)?);
            start += left;
            length -= left;
        }
    }
    proof.reverse();
    Ok(proof)
}

/// Proof that the tree of `new` entries begins with the tree of `old`; empty when `old` is 0 or `new`.
///
/// An `old` above `new` gives an empty proof, which proves nothing.
///
/// # Errors
///
/// Those of `read`.
pub fn consistency_proof<E>(
    old: u64,
    new: u64,
    read: &mut impl FnMut(u8, u64) -> Result<Hash, E>,
) -> Result<Vec<Hash>, E> {
    let mut proof = Vec::new();
    if old == 0 || old >= new {
        return Ok(proof);
    }
    let (mut start, mut length, mut rest) = (0, new, old);
    while rest < length {
        let left = left_half(length);
        if rest <= left {
            proof.push(subtree(start + left, length - left, read)?);
            length = left;
        } else {
            proof.push(subtree(start, left, read)?);
            start += left;
            length -= left;
            rest -= left;
        }
    }
    // A subtree that begins the log is the old tree itself, whose root the verifier has.
    if start > 0 {
        proof.push(subtree(start, length, read)?);
    }
    proof.reverse();
    Ok(proof)
}

/// Whether `proof` shows that `leaf` lies at `index` in the tree with this size and root.
///
/// # Paper
///
/// RFC 9162, section 2.1.3.2.
pub fn verify_inclusion(size: u64, root: &Hash, index: u64, leaf: &Hash, proof: &[Hash]) -> bool {
    if index >= size {
        return false;
    }
    let (mut at, mut last, mut hash) = (index, size - 1, *leaf);
    for sibling in proof {
        if last == 0 {
            return false;
        }
        if at & 1 == 1 || at == last {
            hash = node_hash(sibling, &hash);
            skip_to_sibling(&mut at, &mut last);
        } else {
            hash = node_hash(&hash, sibling);
        }
        at >>= 1;
        last >>= 1;
    }
    last == 0 && hash == *root
}

/// Whether `proof` shows that the tree `new` begins with the tree `old`.
///
/// # Paper
///
/// RFC 9162, section 2.1.4.2. It leaves the empty tree open: anything begins with it, if its root is SHA-256 of nothing.
pub fn verify_consistency(old: u64, old_root: &Hash, new: u64, new_root: &Hash, proof: &[Hash]) -> bool {
    if old == new {
        return proof.is_empty() && old_root == new_root;
    }
    if old == 0 {
        return proof.is_empty() && *old_root == empty_root();
    }
    if old > new {
        return false;
    }
    let (mut at, mut last) = (old - 1, new - 1);
    let ones = at.trailing_ones();
    at = at.checked_shr(ones).unwrap_or(0);
    last = last.checked_shr(ones).unwrap_or(0);
    let (first, rest) = match proof.split_first() {
        _ if old.is_power_of_two() => (old_root, proof),
        Some(split) => split,
        None => return false,
    };
    let (mut old_hash, mut new_hash) = (*first, *first);
    for sibling in rest {
        if last == 0 {
            return false;
        }
        if at & 1 == 1 || at == last {
            old_hash = node_hash(sibling, &old_hash);
            new_hash = node_hash(sibling, &new_hash);
            skip_to_sibling(&mut at, &mut last);
        } else {
            new_hash = node_hash(&new_hash, sibling);
        }
        at >>= 1;
        last >>= 1;
    }
    last == 0 && old_hash == *old_root && new_hash == *new_root
}

/// Root of the tree without entries.
fn empty_root() -> Hash {
    Sha256::digest([]).into()
}

/// Hash over the entries from `start`; a left subtree is complete, so only the right edge is composed.
fn subtree<E>(start: u64, length: u64, read: &mut impl FnMut(u8, u64) -> Result<Hash, E>) -> Result<Hash, E> {
    let (mut end, mut rest) = (start + length, length);
    let mut hash = None;
    while rest > 0 {
        let level = rest.trailing_zeros();
        rest &= rest - 1;
        end -= 1 << level;
        let left = read(level as u8, end >> level)?;
        hash = Some(hash.map_or(left, |right| node_hash(&left, &right)));
    }
    Ok(hash.unwrap_or_else(empty_root))
}

/// The largest power of two below `length`, which is at least 2.
fn left_half(length: u64) -> u64 {
    1 << (length - 1).ilog2()
}

/// Climbs past the levels on which a last node has no sibling.
fn skip_to_sibling(at: &mut u64, last: &mut u64) {
    while *at & 1 == 0 && *at != 0 {
        *at >>= 1;
        *last >>= 1;
    }
}

#[cfg(test)]
mod tests;
