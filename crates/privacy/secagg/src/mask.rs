//! Masking one update, and what the coordinator may see of it.

use std::fmt;

use dp::NoisedUpdate;
use ed25519_dalek::SigningKey;
use sha2::{Digest, Sha256};

use crate::excess::NoiseSeeds;
use crate::messages::InputSignature;
use crate::prg::{self, SignedSeed};
use crate::transcript::{R2, Signed};

const DIGEST_PIECE_BYTES: usize = 64 * 1024;

/// The seeds of one client's masks under one R2. Masks one update, once.
///
/// # Security
/// The seeds are zeroised when this is used or dropped. It may move to a worker thread. Two vectors under one
/// mask would reveal their difference:
///
/// ```compile_fail,E0382
/// fn mask_two(masking: secagg::Masking, one: dp::NoisedUpdate, other: dp::NoisedUpdate) {
///     let _ = masking.mask(one);
///     let _ = masking.mask(other);
/// }
/// ```
///
/// # Privacy
/// Lanes are nobody's word that they were noised, and are not masked:
///
/// ```compile_fail,E0308
/// fn mask_lanes(masking: secagg::Masking, lanes: Vec<u32>) {
///     let _ = masking.mask(lanes);
/// }
/// ```
///
/// nor are integers that have no noise yet:
///
/// ```compile_fail,E0308
/// fn mask_before_the_noise(masking: secagg::Masking, update: dp::QuantizedUpdate) {
///     let _ = masking.mask(update);
/// }
/// ```
#[derive(Debug)]
pub struct Masking {
    r2: R2,
    seeds: Vec<SignedSeed>,
    noise: NoiseSeeds,
}

impl Masking {
    pub(crate) fn new(r2: R2, seeds: Vec<SignedSeed>, noise: NoiseSeeds) -> Self {
        Self { r2, seeds, noise }
    }

    /// What the removable part of the client's noise is drawn from.
    pub fn noise(&self) -> &NoiseSeeds {
        &self.noise
    }

    /// The transcript that the masks belong to.
    pub fn r2(&self) -> R2 {
        self.r2
    }

    /// Adds all masks to the update's lanes, modulo 2^32.
    ///
    /// # Privacy
    /// The result leaves the client. By itself it is uniform; only sums over an included set can be opened. What such a sum
    /// tells is bounded by the noise in it, so only what has its noise is taken, or what a plan lets go without.
    pub fn mask(self, update: NoisedUpdate) -> MaskedUpdate {
        self.mask_lanes(update.into_lanes())
    }

    pub(crate) fn mask_lanes(self, mut lanes: Vec<u32>) -> MaskedUpdate {
        prg::apply(&self.seeds, &mut lanes);
        MaskedUpdate { lanes }
    }
}

/// A masked update: the only form of an update that is made for the network.
///
/// `Debug` prints its length only.
pub struct MaskedUpdate {
    lanes: Vec<u32>,
}

impl MaskedUpdate {
    /// The masked lanes, modulo 2^32.
    pub fn lanes(&self) -> &[u32] {
        &self.lanes
    }

    /// SHA-256 of the little-endian lanes, as the coordinator recomputes it over the bytes it stages.
    pub fn digest(&self) -> [u8; 32] {
        self.chunks(DIGEST_PIECE_BYTES).fold(Sha256::new(), Sha256::chain_update).finalize().into()
    }

    /// The little-endian lanes in order, in pieces of at most `bytes` bytes (whole lanes, at least one).
    pub fn chunks(&self, bytes: usize) -> impl Iterator<Item = Vec<u8>> + '_ {
        self.lanes
            .chunks((bytes / 4).max(1))
            .map(|lanes| lanes.iter().flat_map(|lane| lane.to_le_bytes()).collect())
    }
}

impl fmt::Debug for MaskedUpdate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MaskedUpdate").field("lanes", &self.lanes.len()).finish()
    }
}

/// A client's signature over its masked update's digest, bound to R2.
pub fn sign_input(r2: R2, digest: [u8; 32], identity: &SigningKey) -> InputSignature {
    InputSignature(Signed::Input.sign(identity, &r2.0, input_payload(digest)))
}

pub(crate) fn input_payload(digest: [u8; 32]) -> [u8; 32] {
    Signed::Input.payload().bytes(&digest).finish()
}

/// Two vectors of one sum differ in length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a vector of {got} lanes does not fit a sum of {expected}")]
pub struct LengthMismatch {
    /// Lanes of the sum.
    pub expected: usize,
    /// Lanes of the vector.
    pub got: usize,
}

/// Adds one masked update to the running sum, modulo 2^32. Memory stays that of one vector.
///
/// # Errors
/// [`LengthMismatch`]; the sum is then unchanged.
pub fn sum_into(acc: &mut [u32], masked: &[u32]) -> Result<(), LengthMismatch> {
    if acc.len() != masked.len() {
        return Err(LengthMismatch { expected: acc.len(), got: masked.len() });
    }
    acc.iter_mut().zip(masked).for_each(|(sum, lane)| *sum = sum.wrapping_add(*lane));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prg::Sign;
    use crate::secret::Secret;
    use crate::transcript::sha256;

    fn masked(lanes: Vec<u32>) -> MaskedUpdate {
        let seed = SignedSeed { sign: Sign::Plus, seed: Secret::copy_of(&[3; 32]) };
        Masking::new(R2([1; 32]), vec![seed], NoiseSeeds::nobody_drops(3)).mask_lanes(lanes)
    }

    #[test]
    fn chunks_are_the_digested_bytes_in_order() {
        let update = masked((0..1000).collect());
        for bytes in [0, 1, 4, 7, 64, 3999, 4000, 1 << 20] {
            let pieces: Vec<Vec<u8>> = update.chunks(bytes).collect();
            assert!(pieces.iter().all(|piece| piece.len() <= bytes.max(4)));
            assert_eq!(sha256(&pieces.concat()), update.digest());
        }
    }

    #[test]
    fn a_masked_zero_update_looks_uniform() {
        // 2^20 bytes into 256 bins: chi-square with 255 degrees of freedom is above 360 once in 60,000 keys,
        // below 170 once in 200,000; the key is fixed.
        let update = masked(vec![0; 1 << 18]);
        let mut counts = [0u32; 256];
        for byte in update.chunks(1 << 16).flatten() {
            counts[usize::from(byte)] += 1;
        }
        let expected = f64::from(1 << 12);
        let chi_square: f64 = counts.iter().map(|n| (f64::from(*n) - expected).powi(2) / expected).sum();
        assert!((170.0..360.0).contains(&chi_square), "{chi_square}");
    }

    #[test]
    fn a_vector_of_another_length_is_refused_and_the_sum_stays() {
        let mut sum = vec![1, 2, 3];
        assert_eq!(sum_into(&mut sum, &[1, 2]), Err(LengthMismatch { expected: 3, got: 2 }));
        assert_eq!(sum, [1, 2, 3]);
        sum_into(&mut sum, &[u32::MAX, 1, 1]).unwrap();
        assert_eq!(sum, [0, 3, 4]);
    }

    #[test]
    fn masking_can_move_to_a_worker_and_prints_no_seed_and_no_lane() {
        fn is_send<T: Send>(_: &T) {}
        let seed = SignedSeed { sign: Sign::Plus, seed: Secret::copy_of(&[0xab; 32]) };
        let masking = Masking::new(R2([1; 32]), vec![seed], NoiseSeeds::nobody_drops(3));
        is_send(&masking);
        let text = format!("{masking:?}");
        assert!(text.contains("redacted") && !text.contains("171") && !text.contains("ab"), "{text}");
        assert_eq!(format!("{:?}", masked(vec![0; 5])), "MaskedUpdate { lanes: 5 }");
    }
}
