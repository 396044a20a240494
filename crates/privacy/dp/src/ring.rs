//! Whether a sum of lanes can wrap.
//!
//! A plan is refused unless the sum over its largest cohort stays inside the ring, noise included. Lanes are two's
//! complement in `Z_{2^bits}`.

use crate::exact::ExactEncoding;
use crate::scale::Scale;
use crate::sigma::Sigma;

const FAILURE_LOG2: f64 = -20.0;

/// A ring too small for a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a sum of {cohort_max} silos could wrap in a ring of {bits} bits, it takes {needed} bits")]
pub struct RingTooSmall {
    /// Silos in the largest cohort.
    pub cohort_max: usize,
    /// Bits of the ring.
    pub bits: u32,
    /// Bits that would do.
    pub needed: u32,
}

/// Room for clipped updates and their noise: `2^(bits−1) > n·s·C + k·√n·σ`.
///
/// # Errors
/// The ring that would do.
pub fn require_room_for_updates(
    bits: u32,
    cohort_max: usize,
    scale: Scale,
    clip_norm: f64,
    dimension: usize,
    sigma_local: Sigma,
) -> Result<(), RingTooSmall> {
    let lane = (scale.factor() * clip_norm).ceil();
    require_room(bits, cohort_max, lane, noise_tail(cohort_max, dimension, sigma_local))
}

/// Room for sums of up to `rows_max` clipped gradients in each silo, and their noise:
/// `2^(bits−1) > n(s·C·rows_max + √d) + k·√n·σ`.
///
/// # Errors
/// The ring that would do.
pub fn require_room_for_sums(
    bits: u32,
    cohort_max: usize,
    scale: Scale,
    clip_norm: f64,
    rows_max: u64,
    dimension: usize,
    sigma_local: Sigma,
) -> Result<(), RingTooSmall> {
    let lane = scale.factor() * clip_norm * rows_max as f64 + (dimension as f64).sqrt();
    require_room(bits, cohort_max, lane, noise_tail(cohort_max, dimension, sigma_local))
}

/// Room for exact lanes, which have no noise: `2^(bits−1) > n·2^f·max(C∞, 1)`.
///
/// # Errors
/// The ring that would do.
pub fn require_room_for_exact(
    bits: u32,
    cohort_max: usize,
    encoding: &ExactEncoding,
) -> Result<(), RingTooSmall> {
    // The weight's own lane holds up to one unit, however small the coordinates are.
    let lane = (encoding.scale().factor() * encoding.coordinate_max().max(1.0)).ceil();
    require_room(bits, cohort_max, lane, 0.0)
}

/// How many standard deviations a lane stays within, over all `dimension` lanes, but for a probability of 2^-20.
///
/// The least `k` with `2d·Q(k) ≤ 2^-20`, by a union bound over lanes and signs.
///
/// # Paper
/// `Q(k) ≤ 4φ(k)/(3k + √(k² + 8))` (Sampford 1953).
pub fn tail_standard_deviations(dimension: usize) -> f64 {
    let target = FAILURE_LOG2 * std::f64::consts::LN_2 - (2.0 * dimension.max(1) as f64).ln();
    let (mut within, mut beyond) = (1.0, 40.0);
    for _ in 0..60 {
        let middle = 0.5 * (within + beyond);
        if log_gaussian_tail(middle) <= target {
            beyond = middle;
        } else {
            within = middle;
        }
    }
    beyond
}

fn log_gaussian_tail(k: f64) -> f64 {
    let log_density = -0.5 * k * k - 0.5 * (2.0 * std::f64::consts::PI).ln();
    log_density + (4.0 / (3.0 * k + (k * k + 8.0).sqrt())).ln()
}

fn noise_tail(cohort_max: usize, dimension: usize, sigma_local: Sigma) -> f64 {
    tail_standard_deviations(dimension) * (cohort_max as f64).sqrt() * sigma_local.value()
}

fn require_room(bits: u32, cohort_max: usize, lane: f64, noise: f64) -> Result<(), RingTooSmall> {
    let magnitude = cohort_max as f64 * lane + noise;
    let mut needed = 1;
    // A magnitude that is not finite fits no ring; beyond 1000 bits nobody asks.
    while needed < 1000 && (magnitude.is_nan() || 2.0_f64.powi(needed - 1) <= magnitude) {
        needed += 1;
    }
    let needed = needed.unsigned_abs();
    if needed <= bits && bits <= u32::BITS { Ok(()) } else { Err(RingTooSmall { cohort_max, bits, needed }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scale(bits: u32) -> Scale {
        Scale::from_bits(bits).unwrap()
    }

    #[test]
    fn the_tail_constants_round_to_the_published_ones() {
        for (dimension, published) in [(100_000, 6.81), (1 << 20, 7.14), (10_000_000, 7.45)] {
            let k = tail_standard_deviations(dimension);
            assert!((k - published).abs() < 0.005, "d {dimension}: {k} against {published}");
        }
        assert!(tail_standard_deviations(0) > 4.0, "even one lane has a tail");
    }

    #[test]
    fn a_ring_holds_updates_up_to_the_last_bit_and_names_the_bits_it_lacks() {
        let sigma = Sigma::at_least(4.0).unwrap();
        let check = |bits, cohort| require_room_for_updates(bits, cohort, scale(20), 1.0, 1000, sigma);
        // 2047 · 2^20 leaves 2^20 for the noise below 2^31; 2048 leaves nothing.
        assert_eq!(check(32, 2047), Ok(()));
        assert_eq!(check(32, 2048), Err(RingTooSmall { cohort_max: 2048, bits: 32, needed: 33 }));
        assert_eq!(check(31, 2047), Err(RingTooSmall { cohort_max: 2047, bits: 31, needed: 32 }));
    }

    #[test]
    fn the_noise_of_the_whole_cohort_takes_its_room() {
        let quiet = Sigma::at_least(4.0).unwrap();
        let loud = Sigma::at_least(1e8).unwrap();
        assert!(require_room_for_updates(32, 16, scale(20), 1.0, 1 << 20, quiet).is_ok());
        // 7.14 · √16 · 1e8 is above 2^31.
        let refused = require_room_for_updates(32, 16, scale(20), 1.0, 1 << 20, loud).unwrap_err();
        assert_eq!(refused.needed, 33);
    }

    #[test]
    fn batches_and_rounding_take_their_room() {
        let sigma = Sigma::at_least(4.0).unwrap();
        assert!(require_room_for_sums(32, 10, scale(16), 1.0, 3000, 1 << 20, sigma).is_ok());
        let refused = require_room_for_sums(32, 10, scale(16), 1.0, 4000, 1 << 20, sigma).unwrap_err();
        assert_eq!(refused.needed, 33);
        // 100 · 2^20 is far below 2^31; 100 · √(2^50) is not.
        assert!(require_room_for_sums(32, 100, scale(20), 1.0, 1, 1 << 50, sigma).is_err());
    }

    #[test]
    fn a_hundred_silos_with_unit_coordinates_have_24_bits_and_not_25() {
        let encoding = |bits, coordinate| ExactEncoding::new(scale(bits), coordinate, vec![]).unwrap();
        assert_eq!(require_room_for_exact(32, 100, &encoding(24, 1.0)), Ok(()));
        assert!(require_room_for_exact(32, 100, &encoding(25, 1.0)).is_err());
        assert!(require_room_for_exact(32, 100, &encoding(25, 0.1)).is_err(), "the weight's lane counts");
        assert!(require_room_for_exact(32, 128, &encoding(24, 1.0)).is_err(), "2^31 itself wraps");
    }

    #[test]
    fn a_ring_wider_than_a_lane_or_a_bound_that_is_no_number_is_refused() {
        let sigma = Sigma::at_least(4.0).unwrap();
        assert!(require_room_for_updates(33, 2, scale(4), 1.0, 10, sigma).is_err());
        assert!(require_room_for_updates(32, 2, scale(4), f64::INFINITY, 10, sigma).is_err());
        assert!(require_room_for_updates(32, 2, scale(4), f64::NAN, 10, sigma).is_err());
    }
}
