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
}
