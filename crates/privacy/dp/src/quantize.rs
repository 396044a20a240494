//! Rounding to integers under an asserted norm.

use std::fmt;

use rand_core::CryptoRng;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::random_bits::RandomBits;
use crate::scale::Scale;
use crate::sensitivity::{delta_l2_sum, delta_l2_update};
use crate::update::{ClippedSum, ClippedUpdate, debug_length};

/// Each try succeeds with probability above 0.39, so that all fail with one below 2^-90.
const ROUNDING_TRIES: u32 = 128;

/// An update in integers, before noise.
///
/// # Shapes
/// `[d]` lanes, or `[d + 1 + metrics]` of the exact mode.
///
/// # Privacy
/// Stays in the silo: without its noise it promises nothing.
///
/// # Security
/// Zeroised on drop, never copied or printed.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct QuantizedUpdate {
    lanes: Vec<i32>,
}

/// Why an update has no integers that may be sent.
///
/// # Privacy
/// Says something of the data: for the silo's own operator, in no message.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum QuantizeError {
    /// The integers are longer than the noise is calibrated for.
    #[error("the integers to be sent have a squared norm of {squared_norm}, the plan's bound is {bound}")]
    NormAboveBound {
        /// Sum of squares of the lanes.
        squared_norm: u128,
        /// Square of the bound, rounded down.
        bound: u128,
    },
    /// A coordinate does not fit a lane.
    #[error("coordinate {index} does not fit a lane at this scale")]
    LaneOverflow { index: usize },
    /// No rounding was short enough.
    #[error("none of {ROUNDING_TRIES} stochastic roundings met the norm bound")]
    RoundingTries,
    /// A training metric is infinite or not a number.
    #[error("metric {index} is not finite")]
    NonFiniteMetric { index: usize },
    /// The silo reports another number of metrics than the plan asks.
    #[error("{given} metrics given where the plan asks {asked}")]
    MetricCount { given: usize, asked: usize },
    /// A weight was made for another scale.
    #[error("the weight was made for another scale than the update's")]
    WeightScale,
}

impl ClippedUpdate {
    /// Rounds each coordinate up or down at random, without bias, again until the norm bound holds.
    ///
    /// # Errors
    /// A coordinate beyond a lane; no short rounding in 128 tries, which is as good as impossible for a clipped update.
    ///
    /// # Privacy
    /// `Σz² ≤ Δ²` with [`delta_l2_update`]'s Δ is asserted on the integers themselves, in u128.
    ///
    /// # Paper
    /// Kairouz, Liu, Steinke 2021, conditional randomised rounding, `β = e^(−1/2)`.
    pub fn quantize_stochastic(
        self,
        scale: Scale,
        rng: &mut dyn CryptoRng,
    ) -> Result<QuantizedUpdate, QuantizeError> {
        let bound = square_down(delta_l2_update(scale, self.clip_norm(), self.values().len()));
        let mut bits = RandomBits::new(rng);
        let mut quantized = QuantizedUpdate { lanes: vec![0; self.values().len()] };
        for _ in 0..ROUNDING_TRIES {
            let lanes = quantized.lanes.iter_mut().zip(self.values());
            for (index, (lane, value)) in lanes.enumerate() {
                let scaled = f64::from(*value) * scale.factor();
                let below = scaled.floor();
                // Unbiased to 2^-53. The norm below is what privacy rests on, not the rounding's law.
                let threshold = ((scaled - below) * TWO_POW_64) as u64;
                let up = if bits.bits(u64::BITS) < threshold { 1.0 } else { 0.0 };
                *lane = to_lane(below + up, index)?;
            }
            if squared_norm(&quantized.lanes) <= bound {
                return Ok(quantized);
            }
        }
        Err(QuantizeError::RoundingTries)
    }
}

impl ClippedSum {
    /// Rounds each coordinate once, to nearest.
    ///
    /// # Errors
    /// A sum longer than `rows_max` clipped gradients can make it, or a coordinate beyond 2^62, which no ring has room for.
    ///
    /// # Privacy
    /// The noise is calibrated to [`delta_l2_sum`]. `‖z‖ ≤ s·C·rows_max + √d` is asserted on the integers
    /// themselves, in u128; it sizes the ring. What is beyond a lane wraps, as the sum over silos does: refusing it would
    /// tell of the data without a debit, and two sums that differ by one term differ by as much in the ring.
    pub fn quantize_nearest(self, scale: Scale, rows_max: u64) -> Result<QuantizedUpdate, QuantizeError> {
        let bound = delta_l2_sum(scale, self.clip_norm() * rows_max as f64, self.values().len());
        let bound = square_down(bound);
        let mut quantized = QuantizedUpdate { lanes: Vec::with_capacity(self.values().len()) };
        let mut squared_norm = 0u128;
        for (index, value) in self.values().iter().enumerate() {
            let integer = to_integer((value * scale.factor()).round(), index)?;
            squared_norm = squared_norm.saturating_add(u128::from(integer.unsigned_abs()).pow(2));
            // Truncating is reducing modulo 2^32: the ring's own arithmetic.
            quantized.lanes.push(integer as i32);
        }
        if squared_norm > bound {
            return Err(QuantizeError::NormAboveBound { squared_norm, bound });
        }
        Ok(quantized)
    }
}

impl QuantizedUpdate {
    pub(crate) fn with_capacity(lanes: usize) -> Self {
        Self { lanes: Vec::with_capacity(lanes) }
    }

    pub(crate) fn push(&mut self, value: f64) -> Result<(), QuantizeError> {
        let lane = to_lane(value, self.lanes.len())?;
        self.lanes.push(lane);
        Ok(())
    }

    pub(crate) fn require_norm(&self, bound: f64) -> Result<(), QuantizeError> {
        let bound = square_down(bound);
        let squared_norm = squared_norm(&self.lanes);
        if squared_norm <= bound {
            Ok(())
        } else {
            Err(QuantizeError::NormAboveBound { squared_norm, bound })
        }
    }

    pub(crate) fn take_lanes(mut self) -> Vec<i32> {
        std::mem::take(&mut self.lanes)
    }

    #[cfg(test)]
    pub(crate) fn lanes(&self) -> &[i32] {
        &self.lanes
    }
}

impl fmt::Debug for QuantizedUpdate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        debug_length(formatter, "QuantizedUpdate", self.lanes.len())
    }
}

const TWO_POW_64: f64 = 18_446_744_073_709_551_616.0;

fn to_lane(value: f64, index: usize) -> Result<i32, QuantizeError> {
    if value >= f64::from(i32::MIN) && value <= f64::from(i32::MAX) {
        Ok(value as i32)
    } else {
        Err(QuantizeError::LaneOverflow { index })
    }
}

fn to_integer(value: f64, index: usize) -> Result<i64, QuantizeError> {
    const MOST: f64 = (1u64 << 62) as f64;
    if value.abs() <= MOST { Ok(value as i64) } else { Err(QuantizeError::LaneOverflow { index }) }
}

/// No overflow: a square is below 2^63 and no vector has 2^65 lanes.
fn squared_norm(lanes: &[i32]) -> u128 {
    lanes.iter().map(|lane| u128::from(u64::from(lane.unsigned_abs()).pow(2))).sum()
}

fn square_down(bound: f64) -> u128 {
    (bound * bound).next_down() as u128
}

#[cfg(test)]
mod tests {
    use chacha20::ChaCha20Rng;
    use proptest::prelude::*;
    use rand_core::SeedableRng;

    use super::*;
    use crate::update::LocalUpdate;

    fn scale(bits: u32) -> Scale {
        Scale::from_bits(bits).unwrap()
    }

    #[test]
    fn a_sum_is_rounded_once_to_nearest() {
        let sum = ClippedSum::new(vec![2.0, -3.0, 0.3, -0.3, 0.124], 1.0, 11).unwrap();
        assert_eq!(sum.quantize_nearest(scale(2), 11).unwrap().lanes(), [8, -12, 1, -1, 0]);
    }

    #[test]
    fn a_sum_of_more_rows_than_the_plan_sized_is_refused_and_not_truncated() {
        let sum = || ClippedSum::new(vec![1000.0, 0.0], 1.0, 1000).unwrap();
        assert!(sum().quantize_nearest(scale(8), 1000).is_ok());
        let refused = sum().quantize_nearest(scale(8), 990).unwrap_err();
        assert!(matches!(refused, QuantizeError::NormAboveBound { .. }), "{refused:?}");
    }

    #[test]
    fn a_sum_beyond_a_lane_wraps_after_its_norm_was_asserted() {
        let sum = || ClippedSum::new(vec![-1.0, 4.0], 1.0, 5).unwrap();
        assert_eq!(sum().quantize_nearest(scale(29), 5).unwrap().lanes(), [-(1 << 29), i32::MIN]);
        let refused = sum().quantize_nearest(scale(29), 4).unwrap_err();
        assert!(matches!(refused, QuantizeError::NormAboveBound { .. }), "{refused:?}");
    }

    #[test]
    fn a_coordinate_of_an_update_beyond_a_lane_is_an_error_and_does_not_wrap() {
        let update = LocalUpdate::new(vec![-5.0]).unwrap().clip(5.0).unwrap();
        let mut rng = ChaCha20Rng::from_seed([4; 32]);
        assert_eq!(
            update.quantize_stochastic(scale(29), &mut rng).unwrap_err(),
            QuantizeError::LaneOverflow { index: 0 }
        );
    }

    #[test]
    fn stochastic_rounding_is_unbiased_and_leaves_integers_alone() {
        let mut rng = ChaCha20Rng::from_seed([5; 32]);
        let (mut first, mut second) = (0_i64, 0_i64);
        let rounds = 20_000;
        for _ in 0..rounds {
            let update = LocalUpdate::new(vec![1.3, -0.75, 2.0]).unwrap().clip(30.0).unwrap();
            let quantized = update.quantize_stochastic(scale(0), &mut rng).unwrap();
            assert!([1, 2].contains(&quantized.lanes()[0]) && [-1, 0].contains(&quantized.lanes()[1]));
            assert_eq!(quantized.lanes()[2], 2);
            first += i64::from(quantized.lanes()[0]);
            second += i64::from(quantized.lanes()[1]);
        }
        // Five standard errors of a Bernoulli mean.
        let tolerance = 5.0 * 0.5 / f64::from(rounds).sqrt();
        assert!((first as f64 / f64::from(rounds) - 1.3).abs() < tolerance);
        assert!((second as f64 / f64::from(rounds) + 0.75).abs() < tolerance);
    }

    #[test]
    fn a_rounding_that_is_too_long_is_drawn_again() {
        // One coordinate of 0.1 rounds to 1 with probability 0.1, and 1 is above the bound √0.86.
        assert!(delta_l2_update(scale(0), 0.1, 1) < 1.0);
        let mut rng = ChaCha20Rng::from_seed([6; 32]);
        for _ in 0..200 {
            let update = LocalUpdate::new(vec![0.1]).unwrap().clip(0.1).unwrap();
            assert_eq!(update.quantize_stochastic(scale(0), &mut rng).unwrap().lanes(), [0]);
        }
    }

    #[test]
    fn the_norm_of_integers_does_not_overflow() {
        assert_eq!(squared_norm(&[i32::MIN; 8]), 8_u128 << 62);
    }

    proptest! {
        #[test]
        fn quantised_updates_keep_their_bounds(
            values in prop::collection::vec(-10.0_f32..10.0, 1..300), bits in 0..16_u32, seed in any::<u8>(),
        ) {
            let scale = scale(bits);
            let clipped = LocalUpdate::new(values.clone()).unwrap().clip(1.5).unwrap();
            let kept: Vec<f32> = clipped.values().to_vec();
            let mut rng = ChaCha20Rng::from_seed([seed; 32]);
            let quantized = clipped.quantize_stochastic(scale, &mut rng).unwrap();
            let norm = (squared_norm(quantized.lanes()) as f64).sqrt();
            prop_assert!(norm <= delta_l2_update(scale, 1.5, kept.len()));
            for (lane, value) in quantized.lanes().iter().zip(&kept) {
                prop_assert!((f64::from(*lane) - f64::from(*value) * scale.factor()).abs() < 1.0);
            }

            let rows = 10 * values.len() as u64;
            let sum: Vec<f64> = values.iter().map(|value| f64::from(*value)).collect();
            let nearest = ClippedSum::new(sum.clone(), 1.5, rows).unwrap().quantize_nearest(scale, rows).unwrap();
            for (lane, value) in nearest.lanes().iter().zip(&sum) {
                prop_assert!((f64::from(*lane) - value * scale.factor()).abs() <= 0.5);
            }
        }
    }
}
