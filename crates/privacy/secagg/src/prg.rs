//! The mask generator: ChaCha20 (20 rounds) keyed by a seed, in blocks of 64 KiB.
//!
//! Block `k` of a seed's stream is the keystream under the nonce `k` (little-endian, 12 bytes) from counter 0,
//! read as little-endian lanes. Every block stands alone, so that any range can be computed by itself.

use chacha20::ChaCha20;
use chacha20::cipher::{KeyIvInit, StreamCipher};
use zeroize::Zeroizing;

use crate::secret::Secret;

/// Lanes of one block.
const BLOCK_LANES: usize = 16 * 1024;

/// Lanes for which the keystream is kept at a time: it and what it is added to stay in the nearest cache.
const PIECE_LANES: usize = 1024;

/// Whether a stream is added to the lanes or taken off them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sign {
    Plus,
    Minus,
}

impl Sign {
    /// How `own` counts the mask that it shares with `peer`: the two of a pair cancel.
    pub(crate) fn of_pair(own: crate::ClientId, peer: crate::ClientId) -> Self {
        if peer < own { Self::Plus } else { Self::Minus }
    }

    pub(crate) fn reversed(self) -> Self {
        match self {
            Self::Plus => Self::Minus,
            Self::Minus => Self::Plus,
        }
    }
}

/// A seed and how its stream counts.
#[derive(Debug)]
pub(crate) struct SignedSeed {
    pub(crate) sign: Sign,
    pub(crate) seed: Secret,
}

/// Adds every seed's stream to `lanes`, modulo 2^32.
///
/// Blocks are the outer loop: the lanes of a block stay in cache while all seeds pass over them. With the
/// seeds outside, long vectors go through memory once for each seed.
pub(crate) fn apply(seeds: &[SignedSeed], lanes: &mut [u32]) {
    let mut keystream = Zeroizing::new([0u8; PIECE_LANES * 4]);
    for (index, block) in (0u64..).zip(lanes.chunks_mut(BLOCK_LANES)) {
        for SignedSeed { sign, seed } in seeds {
            let mut cipher = block_cipher(seed, index);
            for piece in block.chunks_mut(PIECE_LANES) {
                let (used, _) = keystream.split_at_mut(piece.len() * 4);
                cipher.write_keystream(used);
                let masks = used.as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word));
                let masked = piece.iter_mut().zip(masks);
                match sign {
                    Sign::Plus => masked.for_each(|(lane, mask)| *lane = lane.wrapping_add(mask)),
                    Sign::Minus => masked.for_each(|(lane, mask)| *lane = lane.wrapping_sub(mask)),
                }
            }
        }
    }
}

fn block_cipher(seed: &Secret, block: u64) -> ChaCha20 {
    let mut nonce = [0u8; 12];
    for (to, from) in nonce.iter_mut().zip(block.to_le_bytes()) {
        *to = from;
    }
    ChaCha20::new(seed.expose().into(), &nonce.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seed(sign: Sign, bytes: [u8; 32]) -> SignedSeed {
        SignedSeed { sign, seed: Secret::copy_of(&bytes) }
    }

    fn stream(lanes: usize) -> Vec<u32> {
        let mut stream = vec![0; lanes];
        apply(&[seed(Sign::Plus, std::array::from_fn(|i| i as u8))], &mut stream);
        stream
    }

    #[test]
    fn the_stream_is_pinned_at_both_sides_of_a_block_boundary() {
        // From openssl enc -chacha20, with the block index as the first nonce byte.
        let bytes: Vec<u8> = stream(BLOCK_LANES + 8).iter().flat_map(|lane| lane.to_le_bytes()).collect();
        assert_eq!(
            hex::encode(&bytes[..32]),
            "39fd2b7dd9c5196a8dbd0377b8dc4a498a35d86fbcde6accb2cc7d4cd8ea2492"
        );
        assert_eq!(
            hex::encode(&bytes[4 * BLOCK_LANES..]),
            "d838fb09536e2e3a10e8f23f486273a69f42d8e640d781ede384793c34c32564"
        );
    }

    #[test]
    fn a_shorter_vector_gets_a_prefix_of_the_stream() {
        let long = stream(2 * BLOCK_LANES + 5);
        for length in [0, 1, 15, 16, 17, BLOCK_LANES - 1, BLOCK_LANES, BLOCK_LANES + 1] {
            assert_eq!(stream(length), long[..length]);
        }
    }

    #[test]
    fn opposite_signs_cancel_bit_for_bit() {
        let mut lanes: Vec<u32> = (0..BLOCK_LANES as u32 + 3).map(|i| i.wrapping_mul(0x9e37_79b9)).collect();
        let before = lanes.clone();
        apply(&[seed(Sign::Plus, [1; 32]), seed(Sign::Minus, [2; 32])], &mut lanes);
        assert_ne!(lanes, before);
        apply(&[seed(Sign::Plus, [2; 32]), seed(Sign::Minus, [1; 32])], &mut lanes);
        assert_eq!(lanes, before);
    }
}
