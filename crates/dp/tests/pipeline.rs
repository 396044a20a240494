//! A round's arithmetic from the silos' updates to the sum, without masks.

use chacha20::ChaCha20Rng;
use dp::{ClippedSum, DiscreteGaussian, LocalUpdate, Scale, dequantize, ring, sensitivity};
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
