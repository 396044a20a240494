//! Poisson sampling: each row is in or out by itself.

use rand_core::Rng;

/// Rows that are in a batch, ascending. Each is in with probability `rate`, rounded down to a multiple of 2^-64, so
/// that the sampling is never denser than what is accounted.
pub(crate) fn sample(rows: usize, rate: f64, rng: &mut impl Rng) -> Vec<usize> {
    if rate >= 1.0 {
        return (0..rows).collect();
    }
    // A power of two times a number below one is exact, and the cast drops the fraction.
    let threshold = (rate * 2f64.powi(64)) as u64;
    (0..rows).filter(|_| rng.next_u64() < threshold).collect()
}

#[cfg(test)]
mod tests {
    use chacha20::ChaCha20Rng;
    use rand_core::SeedableRng;

    use super::*;

    #[test]
    fn batch_sizes_follow_the_binomial_law() {
        // 400 batches of 1,000 rows at q = 0.3: the total is normal with deviation sqrt(400,000 q (1-q)) = 290.
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let sizes: Vec<f64> = (0..400).map(|_| sample(1000, 0.3, &mut rng).len() as f64).collect();
        let mean = sizes.iter().sum::<f64>() / 400.0;
        let variance = sizes.iter().map(|size| (size - mean).powi(2)).sum::<f64>() / 399.0;
        // alpha = 1e-6, two-sided: 4.9 deviations of the mean (0.725), and of the variance (210 sqrt(2/399)).
        assert!((mean - 300.0).abs() < 4.9 * 0.725, "{mean}");
        assert!((variance - 210.0).abs() < 4.9 * 210.0 * (2.0f64 / 399.0).sqrt(), "{variance}");
    }

    #[test]
    fn a_rate_of_one_takes_all_and_of_zero_none() {
        let mut rng = ChaCha20Rng::seed_from_u64(2);
        assert_eq!(sample(3, 1.0, &mut rng), [0, 1, 2]);
        assert!(sample(1000, 0.0, &mut rng).is_empty());
    }
}
