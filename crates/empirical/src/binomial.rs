//! The binomial law, as sums of logarithms: exact enough for any number of guesses that an audit makes.

/// `P[Binomial(trials, probability) = k]` for every k.
///
/// # Shapes
/// `[trials + 1]`
pub(crate) fn masses(trials: u64, probability: f64) -> Vec<f64> {
    let (success, failure) = (probability.ln(), (-probability).ln_1p());
    let mut log_choose = 0.0;
    (0..=trials)
        .map(|k| {
            if k > 0 {
                log_choose += ((trials - k + 1) as f64 / k as f64).ln();
            }
            // Zero times a logarithm of zero is nothing, not NaN.
            let power = |count: u64, logarithm: f64| if count == 0 { 0.0 } else { count as f64 * logarithm };
            (log_choose + power(k, success) + power(trials - k, failure)).exp()
        })
        .collect()
}

/// Wilson's score interval for a proportion, at a confidence given by its normal quantile.
///
/// # Paper
/// Wilson 1927.
pub fn wilson(successes: u64, trials: u64, quantile: f64) -> [f64; 2] {
    if trials == 0 {
        return [0.0, 1.0];
    }
    let (n, p, z) = (trials as f64, successes as f64 / trials as f64, quantile);
    let centre = p + z * z / (2.0 * n);
    let spread = z * (p * (1.0 - p) / n + z * z / (4.0 * n * n)).sqrt();
    [-spread, spread].map(|spread| ((centre + spread) / (1.0 + z * z / n)).clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masses_sum_to_one_and_match_small_cases() {
        let masses_of = masses(4, 0.5);
        for (mass, expected) in masses_of.iter().zip([1.0, 4.0, 6.0, 4.0, 1.0]) {
            assert!((mass - expected / 16.0).abs() < 1e-15);
        }
        for (trials, p) in [(1_000, 0.3), (10_000, 0.999), (50, 1.0), (50, 0.0)] {
            assert!((masses(trials, p).iter().sum::<f64>() - 1.0).abs() < 1e-9, "{trials} {p}");
        }
    }

    #[test]
    fn wilsons_interval_is_the_published_one() {
        // Newcombe 1998, table I: 81 of 263 at 95 per cent.
        let [low, high] = wilson(81, 263, 1.959_964);
        assert!((low - 0.2553).abs() < 1e-4 && (high - 0.3662).abs() < 1e-4, "{low} {high}");
        assert_eq!(wilson(0, 0, 1.96), [0.0, 1.0]);
    }
}
