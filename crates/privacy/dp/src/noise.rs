//! The step that makes integers fit to leave the silo, and the reading of a sum of them.
#![cfg_attr(not(test), deny(clippy::float_arithmetic))]

use std::fmt;

use rand_core::CryptoRng;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::mechanism::DiscreteGaussian;
use crate::quantize::QuantizedUpdate;
use crate::random_bits::RandomBits;
use crate::scale::Scale;
use crate::update::debug_length;

const BLOCK: usize = 1024;

/// An update with its share of the noise: all that masking accepts.
///
/// # Privacy
/// One silo's share hides its update only together with the shares of `honest_min` others: it leaves the silo
/// under masks and no other way.
///
/// # Security
/// Zeroised on drop, never copied or printed.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct NoisedUpdate {
    lanes: Vec<i32>,
}

/// Says that a plan promises no differential privacy, so that its updates go without noise.
#[derive(Debug)]
pub struct WithoutNoise(());

impl WithoutNoise {
    /// To be called only where the signed plan says that the coordinator noises the sum it opens.
    pub fn the_coordinator_adds_it() -> Self {
        Self(())
    }

    /// To be called only where the signed plan's mode has no epsilon, or where the silo has added all its noise itself.
    pub fn plan_has_no_privacy() -> Self {
        Self(())
    }
}

impl QuantizedUpdate {
    /// Adds a fresh draw of `noise` to each lane, modulo 2^32.
    ///
    /// # Privacy
    /// Drawn anew each time and kept nowhere: the same update noised twice is two releases.
    pub fn add_noise(self, noise: &DiscreteGaussian, rng: &mut dyn CryptoRng) -> NoisedUpdate {
        let mut noised = NoisedUpdate { lanes: self.take_lanes() };
        noised.add(noise, rng);
        noised
    }

    /// Goes on without noise, under a plan that promises none.
    pub fn without_noise(self, _plan: WithoutNoise) -> NoisedUpdate {
        NoisedUpdate { lanes: self.take_lanes() }
    }
}

impl DiscreteGaussian {
    /// Adds a fresh draw to each lane of an opened sum, modulo 2^32.
    ///
    /// # Privacy
    /// For the mode in which the coordinator is trusted: what is not noised must not be shown to anybody.
    pub fn add_to_lanes(&self, lanes: &mut [u32], rng: &mut dyn CryptoRng) {
        self.draw_for(lanes, rng, |lane, draw| *lane = lane.wrapping_add(draw.cast_unsigned()));
    }

    /// Takes off a sum's lanes what [`NoisedUpdate::add_component`] added to one of its updates, drawn again from the same
    /// generator.
    ///
    /// # Privacy
    /// For noise that the sum has beyond what was calibrated.
    pub fn take_off_lanes(&self, lanes: &mut [u32], rng: &mut dyn CryptoRng) {
        self.draw_for(lanes, rng, |lane, draw| *lane = lane.wrapping_sub(draw.cast_unsigned()));
    }

    /// A draw for each lane. What is drawn depends on `rng` and on the number of lanes alone.
    fn draw_for<Lane>(&self, lanes: &mut [Lane], rng: &mut dyn CryptoRng, apply: impl Fn(&mut Lane, i32)) {
        let mut bits = RandomBits::new(rng);
        let mut draws = Zeroizing::new([0_i64; BLOCK]);
        for lanes in lanes.chunks_mut(BLOCK) {
            self.fill_from(draws.as_mut_slice(), &mut bits);
            for (lane, draw) in lanes.iter_mut().zip(draws.iter()) {
                // Truncating is reducing modulo 2^32: the ring's own arithmetic.
                apply(lane, *draw as i32);
            }
        }
    }
}

impl NoisedUpdate {
    /// Adds one more component of noise, which can be taken off a sum by whoever learns what `rng` was seeded with.
    pub fn add_component(mut self, noise: &DiscreteGaussian, rng: &mut dyn CryptoRng) -> Self {
        self.add(noise, rng);
        self
    }

    fn add(&mut self, noise: &DiscreteGaussian, rng: &mut dyn CryptoRng) {
        noise.draw_for(&mut self.lanes, rng, |lane, draw| *lane = lane.wrapping_add(draw));
    }

    /// The lanes of Z_{2^32}, two's complement, for masking.
    ///
    /// # Security
    /// Plaintext from here on: the caller masks them at once and zeroises what it does not overwrite.
    pub fn into_lanes(mut self) -> Vec<u32> {
        // Collecting reuses the allocation, so no copy is left behind.
        std::mem::take(&mut self.lanes).into_iter().map(i32::cast_unsigned).collect()
    }
}

impl fmt::Debug for NoisedUpdate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        debug_length(formatter, "NoisedUpdate", self.lanes.len())
    }
}

/// Reads a sum's lanes, as two's complement in Z_{2^32}, back into units.
///
/// The sum is not divided: by how much is the plan's business. Every result is finite.
#[expect(clippy::float_arithmetic, reason = "what is read has its noise already")]
pub fn dequantize(lanes: &[u32], scale: Scale) -> Vec<f32> {
    lanes.iter().map(|lane| (f64::from(lane.cast_signed()) / scale.factor()) as f32).collect()
}

#[cfg(test)]
mod tests {
    use chacha20::ChaCha20Rng;
    use rand_core::SeedableRng;

    use super::*;
    use crate::sigma::Sigma;
    use crate::update::ClippedSum;

    fn quantized(values: Vec<f64>) -> QuantizedUpdate {
        let scale = Scale::from_bits(0).unwrap();
        ClippedSum::new(values, 1e10, 3).unwrap().quantize_nearest(scale, 3).unwrap()
    }

    #[test]
    fn noise_is_the_mechanisms_and_is_added_to_every_lane() {
        let noise = DiscreteGaussian::new(Sigma::at_least(50.0).unwrap());
        let length = 3 * BLOCK + 17;
        let lanes = quantized(vec![1000.0; length])
            .add_noise(&noise, &mut ChaCha20Rng::from_seed([8; 32]))
            .into_lanes();
        let differences: Vec<f64> = lanes.iter().map(|lane| f64::from(lane.cast_signed()) - 1000.0).collect();
        let mean = differences.iter().sum::<f64>() / length as f64;
        let variance = differences.iter().map(|x| x * x).sum::<f64>() / length as f64;
        assert!(mean.abs() < 5.0 * 50.0 / (length as f64).sqrt());
        assert!((variance / 2500.0 - 1.0).abs() < 5.0 * (2.0 / length as f64).sqrt());
        let tail = &differences[3 * BLOCK..];
        assert!(tail.iter().any(|x| *x != 0.0), "the last, short block has noise too");
    }

    #[test]
    fn a_component_is_taken_off_a_sum_exactly_and_leaves_the_other_noise() {
        let noise = DiscreteGaussian::new(Sigma::at_least(2.0_f64.powi(27)).unwrap());
        let length = 2 * BLOCK + 5;
        let rng = |seed| ChaCha20Rng::from_seed([seed; 32]);
        let one = || quantized(vec![7.0; length]).add_noise(&noise, &mut rng(1));
        let mut sum = one().add_component(&noise, &mut rng(2)).into_lanes();
        let other = quantized(vec![5.0; length]).add_noise(&noise, &mut rng(3)).into_lanes();
        sum.iter_mut().zip(&other).for_each(|(sum, lane)| *sum = sum.wrapping_add(*lane));
        noise.take_off_lanes(&mut sum, &mut rng(2));
        let mut left = one().into_lanes();
        left.iter_mut().zip(&other).for_each(|(sum, lane)| *sum = sum.wrapping_add(*lane));
        assert_eq!(sum, left);
    }

    #[test]
    fn noise_wraps_in_the_ring_and_never_panics() {
        let noise = DiscreteGaussian::new(Sigma::at_least(1e8).unwrap());
        let top = quantized(vec![f64::from(i32::MAX); 64]);
        let lanes = top.add_noise(&noise, &mut ChaCha20Rng::from_seed([9; 32])).into_lanes();
        assert!(lanes.iter().any(|lane| lane.cast_signed() < 0));
    }

    #[test]
    fn no_two_lanes_of_one_update_share_noise() {
        // Of 2^28, two of 3,089 lanes are alike with probability 1/200 or so: the seed is one where none are.
        let noise = DiscreteGaussian::new(Sigma::at_least(2.0_f64.powi(28)).unwrap());
        let length = 3 * BLOCK + 17;
        let mut lanes = quantized(vec![0.0; length])
            .add_noise(&noise, &mut ChaCha20Rng::from_seed([11; 32]))
            .into_lanes();
        lanes.sort_unstable();
        lanes.dedup();
        assert_eq!(lanes.len(), length);
    }

    #[test]
    fn two_silos_or_two_rounds_never_share_noise() {
        let noise = DiscreteGaussian::new(Sigma::at_least(1e6).unwrap());
        let mut rng = ChaCha20Rng::from_seed([10; 32]);
        let first = quantized(vec![0.0; 32]).add_noise(&noise, &mut rng).into_lanes();
        let second = quantized(vec![0.0; 32]).add_noise(&noise, &mut rng).into_lanes();
        assert!(first.iter().zip(&second).all(|(a, b)| a != b));
    }

    #[test]
    fn lanes_are_twos_complement_and_read_back_exactly() {
        let lanes =
            quantized(vec![-1.0, 3.0]).without_noise(WithoutNoise::plan_has_no_privacy()).into_lanes();
        assert_eq!(lanes, [u32::MAX, 3]);
        assert_eq!(dequantize(&lanes, Scale::from_bits(1).unwrap()), [-0.5, 1.5]);
        assert_eq!(dequantize(&[1 << 31], Scale::from_bits(0).unwrap()), [-2_147_483_648.0]);
    }

    #[test]
    fn debug_shows_a_length_and_no_value() {
        let noised = quantized(vec![31337.0]).without_noise(WithoutNoise::plan_has_no_privacy());
        assert_eq!(format!("{noised:?}"), "NoisedUpdate { length: 1, .. }");
    }
}
