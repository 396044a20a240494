//! A round's arithmetic from the silos' updates to the sum, without masks.

use chacha20::ChaCha20Rng;
use dp::{
    AdaptiveClip, ClippedSum, DiscreteGaussian, LocalUpdate, Scale, WithoutNoise, dequantize, ring,
    sensitivity,
};
use proptest::prelude::*;
use rand_core::SeedableRng;

fn add(total: &mut [u32], lanes: &[u32]) {
    for (sum, lane) in total.iter_mut().zip(lanes) {
        *sum = sum.wrapping_add(*lane);
    }
}

#[test]
fn the_honest_silos_shares_add_up_to_the_calibrated_noise() {
    let (honest_min, dimension) = (5, 40_000);
    let scale = Scale::from_bits(14).unwrap();
    let delta = sensitivity::delta_l2_sum(scale, 1.0, dimension);
    let sigma_total = 1.1 * delta;
    let share = sensitivity::sigma_local(sigma_total, honest_min).unwrap();
    ring::require_room_for_sums(32, honest_min, scale, 1.0, 100, dimension, share).unwrap();
    let noise = DiscreteGaussian::new(share);

    let mut total = vec![0_u32; dimension];
    for silo in 0..honest_min {
        // One prime at the silo's own coordinate: a dropped, doubled or misplaced silo shows.
        let mut gradient = vec![0.0; dimension];
        gradient[silo] = [2.0, 3.0, 5.0, 7.0, 11.0][silo];
        let mut rng = ChaCha20Rng::from_seed([silo as u8; 32]);
        let sum = ClippedSum::new(gradient, 1.0, 100).unwrap();
        let noised = sum.quantize_nearest(scale, 100).unwrap().add_noise(&noise, &mut rng);
        add(&mut total, &noised.into_lanes());
    }

    let unit = scale.factor();
    let read = dequantize(&total, scale);
    for (silo, prime) in [2.0, 3.0, 5.0, 7.0, 11.0].into_iter().enumerate() {
        assert!((f64::from(read[silo]) - prime).abs() < 6.0 * sigma_total / unit);
    }
    let rest = &read[honest_min..];
    let variance =
        rest.iter().map(|value| (f64::from(*value) * unit).powi(2)).sum::<f64>() / rest.len() as f64;
    // Five standard errors of a sample variance.
    let tolerance = 5.0 * (2.0 / rest.len() as f64).sqrt();
    assert!((variance / sigma_total.powi(2) - 1.0).abs() < tolerance, "{}", variance.sqrt() / sigma_total);
}

#[test]
fn stochastically_rounded_updates_sum_to_the_sum_within_rounding_and_noise() {
    let scale = Scale::from_bits(20).unwrap();
    let updates = [[0.3_f32, -0.1, 0.0], [0.0, 0.2, -0.7], [0.11, 0.13, 0.17]];
    let noise = DiscreteGaussian::new(sensitivity::sigma_local(40.0, 3).unwrap());
    let mut rng = ChaCha20Rng::from_seed([77; 32]);
    let mut total = vec![0_u32; 3];
    for update in updates {
        let clipped = LocalUpdate::new(update.to_vec()).unwrap().clip(1.0).unwrap();
        let quantized = clipped.quantize_stochastic(scale, &mut rng).unwrap();
        add(&mut total, &quantized.add_noise(&noise, &mut rng).into_lanes());
    }
    for (read, want) in dequantize(&total, scale).into_iter().zip([0.41, 0.23, -0.53]) {
        // Three roundings of less than one lane each and eight standard deviations of the noise.
        assert!(
            (f64::from(read) - want).abs() < (3.0 + 8.0 * 40.0) / scale.factor(),
            "{read} against {want}"
        );
    }
}

#[test]
fn one_record_moves_the_rounded_sum_by_at_most_the_sensitivity() {
    let scale = Scale::from_bits(3).unwrap();
    let dimension = 50;
    let lanes = |values: Vec<f64>| {
        let quantized = ClippedSum::new(values, 1.0, 100).unwrap().quantize_nearest(scale, 100).unwrap();
        quantized.without_noise(dp::WithoutNoise::plan_has_no_privacy()).into_lanes()
    };
    // Every coordinate sits just below a tie, and the record tips each over it: the worst case.
    let sum: Vec<f64> = vec![0.062_4; dimension];
    let record = 1.0 / (dimension as f64).sqrt();
    let neighbour = sum.iter().map(|value| value + record).collect();
    let squared: f64 = lanes(sum)
        .iter()
        .zip(lanes(neighbour))
        .map(|(a, b)| f64::from(b.wrapping_sub(*a).cast_signed()).powi(2))
        .sum();
    let delta = sensitivity::delta_l2_sum(scale, 1.0, dimension);
    assert!(squared.sqrt() <= delta);
    assert!(squared.sqrt() > scale.factor() * 1.0, "rounding does cost more than the clip norm alone");
}

/// The integers of a counted sum, before noise.
fn counted(
    sum: &[f64],
    count: i64,
    rows: u64,
    clip_norm: f64,
    adaptive: &AdaptiveClip,
    scale: Scale,
) -> Vec<i32> {
    let sum = ClippedSum::new(sum.to_vec(), clip_norm, rows).unwrap().with_count(count).counted(adaptive);
    let lanes = sum.quantize_nearest(scale, rows).unwrap().without_noise(WithoutNoise::plan_has_no_privacy());
    lanes.into_lanes().into_iter().map(u32::cast_signed).collect()
}

fn distance(a: &[i32], b: &[i32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum::<f64>().sqrt()
}

#[test]
fn the_count_of_those_within_the_clip_norm_is_part_of_the_sensitivity() {
    let scale = Scale::from_bits(20).unwrap();
    let adaptive = AdaptiveClip::new(1.0, 0.5, 0.2, 0.5).unwrap();
    // Neighbours that differ by one record of the full clip norm.
    let (without, with) = (
        counted(&[0.0, 0.0], 0, 1, 4.0, &adaptive, scale),
        counted(&[0.0, 4.0], -1, 1, 4.0, &adaptive, scale),
    );
    let apart = distance(&without, &with);
    assert!(apart <= sensitivity::delta_l2_sum(scale, adaptive.joint_norm(), 3));
    let forgotten = sensitivity::delta_l2_sum(scale, 1.0, 3);
    assert!(apart > 1.4 * forgotten, "{apart} is no more than {forgotten}, which leaves the count out");
}

proptest! {
    #[test]
    fn a_record_moves_a_counted_sum_by_no_more_than_the_joint_sensitivity(
        others in prop::collection::vec(-3.0..3.0_f64, 4), record in prop::collection::vec(-1.0..1.0_f64, 4),
        count in -9_i64..9, within: bool, clip_norm in 1e-3..1e3_f64, bits in 0_u32..20, share in 0.01..0.5_f64,
    ) {
        let scale = Scale::from_bits(bits).unwrap();
        let adaptive = AdaptiveClip::new(1.0, 0.5, 0.2, share).unwrap();
        // One record more, of a norm as large as the trainer leaves it.
        let norm = record.iter().map(|value| value * value).sum::<f64>().sqrt().max(1e-9);
        let size = clip_norm * (1.0 - 1.0 / 4096.0) / norm;
        let sum: Vec<f64> = others.iter().map(|value| value * clip_norm).collect();
        let with: Vec<f64> = sum.iter().zip(&record).map(|(sum, value)| sum + value * size).collect();
        let vote = if within { 1 } else { -1 };
        let apart = distance(
            &counted(&sum, count, 20, clip_norm, &adaptive, scale),
            &counted(&with, count + vote, 20, clip_norm, &adaptive, scale),
        );
        prop_assert!(apart <= sensitivity::delta_l2_sum(scale, adaptive.joint_norm(), 5), "{apart}");
    }
}
