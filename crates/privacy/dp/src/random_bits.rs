//! Random bits out of a bulk buffer.
#![cfg_attr(not(test), deny(clippy::float_arithmetic))]

use rand_core::CryptoRng;
use zeroize::{Zeroize, Zeroizing};

const BUFFER_BYTES: usize = 4096;

/// Hands out single bits of a generator that is asked for whole buffers.
///
/// # Security
/// The buffer and what is left of the current word are zeroised on drop; no bit is handed out twice.
pub(crate) struct RandomBits<'rng> {
    rng: &'rng mut dyn CryptoRng,
    buffer: Zeroizing<[u8; BUFFER_BYTES]>,
    words_used: usize,
    word: u64,
    bits_left: u32,
}

impl<'rng> RandomBits<'rng> {
    pub(crate) fn new(rng: &'rng mut dyn CryptoRng) -> Self {
        Self {
            rng,
            buffer: Zeroizing::new([0; BUFFER_BYTES]),
            words_used: BUFFER_BYTES / size_of::<u64>(),
            word: 0,
            bits_left: 0,
        }
    }

    /// A uniform integer below `2^count`, `count` at most 64.
    #[inline]
    pub(crate) fn bits(&mut self, count: u32) -> u64 {
        debug_assert!(count <= u64::BITS);
        if self.bits_left < count {
            self.word = self.next_word();
            self.bits_left = u64::BITS;
        }
        self.bits_left -= count;
        if count == u64::BITS {
            return std::mem::take(&mut self.word);
        }
        let value = self.word & ((1 << count) - 1);
        self.word >>= count;
        value
    }

    /// A uniform integer below `bound`, which is at least 1.
    #[inline]
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        debug_assert!(bound >= 1);
        let width = u64::BITS - (bound - 1).leading_zeros();
        loop {
            let candidate = self.bits(width);
            if candidate < bound {
                return candidate;
            }
        }
    }

    #[inline]
    fn next_word(&mut self) -> u64 {
        loop {
            if let Some(bytes) = self.buffer.as_chunks().0.get(self.words_used) {
                self.words_used += 1;
                return u64::from_le_bytes(*bytes);
            }
            self.rng.fill_bytes(self.buffer.as_mut_slice());
            self.words_used = 0;
        }
    }
}

impl Drop for RandomBits<'_> {
    fn drop(&mut self) {
        self.word.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use chacha20::ChaCha20Rng;
    use rand_core::SeedableRng;

    use super::*;

    #[test]
    fn every_residue_below_a_bound_comes_equally_often() {
        let mut rng = ChaCha20Rng::from_seed([1; 32]);
        let mut bits = RandomBits::new(&mut rng);
        for bound in [1_u64, 2, 3, 5, 7, 12] {
            let mut seen = vec![0_u32; bound as usize];
            for _ in 0..60_000 {
                seen[bits.below(bound) as usize] += 1;
            }
            let expected = 60_000.0 / bound as f64;
            for count in seen {
                // Six standard deviations of a binomial count.
                assert!((f64::from(count) - expected).abs() <= 6.0 * expected.sqrt(), "{bound}: {count}");
            }
        }
    }

    #[test]
    fn full_words_are_the_generators_and_are_read_across_refills() {
        let mut plain = ChaCha20Rng::from_seed([2; 32]);
        let mut stream = vec![0_u8; 3 * BUFFER_BYTES];
        rand_core::Rng::fill_bytes(&mut plain, &mut stream);
        let mut rng = ChaCha20Rng::from_seed([2; 32]);
        let mut bits = RandomBits::new(&mut rng);
        for bytes in stream.as_chunks().0 {
            assert_eq!(bits.bits(64), u64::from_le_bytes(*bytes));
        }
    }
}
