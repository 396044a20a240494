//! One Gaussian release, exactly; concentrated privacy; sums of discrete noise.

use libm::erfc;

use crate::event::{AccountingError, valid_delta, valid_epsilon};

/// The probability that a standard normal value is above x.
pub(crate) fn upper_tail(x: f64) -> f64 {
    0.5 * erfc(x * std::f64::consts::FRAC_1_SQRT_2)
}

/// Its logarithm, which there is also where the probability itself is below all numbers.
pub(crate) fn ln_upper_tail(x: f64) -> f64 {
    // `erfc` has all its digits up to 37.
    if x < 30.0 {
        return upper_tail(x).ln();
    }
    // The asymptotic series; what is left off is below 10^-15 from here on.
    let y = 1.0 / (x * x);
    let series = y * (-1.0 + y * (3.0 + y * (-15.0 + y * (105.0 + y * (-945.0 + y * 10395.0)))));
    -0.5 * x * x - (x * (2.0 * std::f64::consts::PI).sqrt()).ln() + series.ln_1p()
}

/// The exact delta of one Gaussian release of sensitivity 1 at this noise multiplier.
///
/// # Paper
/// Balle, Wang 2018, theorem 8.
pub fn analytic_gaussian_delta(noise_multiplier: f64, epsilon: f64) -> f64 {
    let (a, b) = (0.5 / noise_multiplier, epsilon * noise_multiplier);
    let far = (epsilon + ln_upper_tail(a + b)).exp();
    (upper_tail(b - a) - far).clamp(0.0, 1.0)
}

/// The exact epsilon of one Gaussian release of sensitivity 1.
///
/// # Errors
/// A noise multiplier that is not positive, a delta that is not strictly between 0 and 1.
pub fn analytic_gaussian_epsilon(noise_multiplier: f64, delta: f64) -> Result<f64, AccountingError> {
    let delta = valid_delta(delta)?;
    if !(noise_multiplier.is_finite() && noise_multiplier > 0.0) {
        return Err(AccountingError::NoiseMultiplier { noise_multiplier });
    }
    Ok(least(|epsilon| analytic_gaussian_delta(noise_multiplier, epsilon) <= delta))
}

/// The least noise multiplier of one Gaussian release that keeps (epsilon, delta).
///
/// # Errors
/// An epsilon that is not positive, a delta that is not strictly between 0 and 1.
pub fn analytic_gaussian_noise(epsilon: f64, delta: f64) -> Result<f64, AccountingError> {
    let (epsilon, delta) = (valid_epsilon(epsilon)?, valid_delta(delta)?);
    Ok(least(|noise| noise > 0.0 && analytic_gaussian_delta(noise, epsilon) <= delta))
}

/// The least number from 0 on that is enough, where every larger one is; infinite where none is found.
fn least(enough: impl Fn(f64) -> bool) -> f64 {
    if enough(0.0) {
        return 0.0;
    }
    let mut high = 1.0;
    while !enough(high) {
        high *= 2.0;
        if high > 1e300 {
            return f64::INFINITY;
        }
    }
    let mut low = 0.0;
    for _ in 0..200 {
        let middle = 0.5 * (low + high);
        if middle <= low || middle >= high {
            break;
        }
        if enough(middle) {
            high = middle;
        } else {
            low = middle;
        }
    }
    high
}

/// Epsilon of ρ-zCDP at delta.
///
/// # Errors
/// A ρ that is negative or not a number, a delta that is not strictly between 0 and 1.
///
/// # Paper
/// Canonne, Kamath, Steinke 2020, proposition 12 with the divergence `αρ`, at the best real order.
pub fn zcdp_epsilon(rho: f64, delta: f64) -> Result<f64, AccountingError> {
    let delta = valid_delta(delta)?;
    if rho.is_nan() || rho < 0.0 {
        return Err(AccountingError::Rho { rho });
    }
    if rho == 0.0 {
        return Ok(0.0);
    }
    let at = |log_excess: f64| {
        let order = 1.0 + log_excess.exp();
        order * rho + (-1.0 / order).ln_1p() - (delta.ln() + order.ln()) / (order - 1.0)
    };
    // The bound has one minimum over the order; a ternary search on ln(α − 1).
    let (mut low, mut high) = (-30.0, 60.0);
    for _ in 0..300 {
        let (a, b) = (low + (high - low) / 3.0, high - (high - low) / 3.0);
        if at(a) < at(b) {
            high = b;
        } else {
            low = a;
        }
    }
    Ok(at(0.5 * (low + high)).max(0.0))
}

/// A sum of so many independent discrete noises, each of its own silo, under one bounded sum of updates.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DiscreteSum {
    /// L2 sensitivity in lanes, Δ.
    pub l2: f64,
    pub dimension: f64,
}

impl DiscreteSum {
    /// Of updates clipped to `clip`, scaled by `scale` and rounded at random to integers with norm bounded at `beta`.
    ///
    /// # Paper
    /// Kairouz, Liu, Steinke 2021, proposition 22.
    pub fn rounded(clip: f64, scale: f64, dimension: f64, beta: f64) -> Self {
        let scaled = scale * clip;
        let root = dimension.sqrt();
        let likely =
            (scaled * scaled + 0.25 * dimension + (-2.0 * beta.ln()).sqrt() * (scaled + 0.5 * root)).sqrt();
        Self { l2: likely.min(scaled + root), dimension }
    }

    fn l1(&self) -> f64 {
        self.l2 * self.l2.min(self.dimension.sqrt())
    }

    /// RDP at an order, of a sum of `parties` discrete Gaussians of this deviation in lanes.
    ///
    /// # Paper
    /// Kairouz, Liu, Steinke 2021, theorem 1 and corollary 12.
    pub fn gaussian_rdp(&self, parties: u64, sigma: f64, order: f64) -> f64 {
        let exponent = 2.0 * std::f64::consts::PI.powi(2) * sigma * sigma;
        let tau = 10.0 * (1..parties).map(|k| (-exponent * k as f64 / (k + 1) as f64).exp()).sum::<f64>();
        let central = (parties as f64).sqrt() * sigma;
        let (x, x1, d) = (self.l2 / central, self.l1() / central, self.dimension);
        let half = 0.5 * order;
        (half * x * x + tau * d)
            .min(half * (x * x + 2.0 * x1 * tau + tau * tau * d))
            .min(half * (x + d.sqrt() * tau).powi(2))
    }

    /// RDP at an order, of a Skellam noise of this variance in the sum.
    ///
    /// # Paper
    /// Agarwal, Kairouz, Liu 2021, theorem 3.5.
    pub fn skellam_rdp(&self, variance: f64, order: f64) -> f64 {
        let (l1, l2) = (self.l1(), self.l2);
        let first = ((2.0 * order - 1.0) * l2 * l2 + 6.0 * l1) / (4.0 * variance * variance);
        order * l2 * l2 / (2.0 * variance) + first.min(3.0 * l1 / (2.0 * variance))
    }
}

/// Epsilon at delta of RDP given at each of `orders`.
///
/// # Errors
/// A delta that is not strictly between 0 and 1.
pub fn rdp_epsilon(
    orders: impl IntoIterator<Item = f64>,
    rdp: impl Fn(f64) -> f64,
    delta: f64,
) -> Result<f64, AccountingError> {
    let delta = valid_delta(delta)?;
    let epsilons = orders
        .into_iter()
        .map(|order| rdp(order) + (-1.0 / order).ln_1p() - (delta.ln() + order.ln()) / (order - 1.0));
    Ok(epsilons.fold(f64::INFINITY, f64::min).max(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_analytic_gaussian_inverts_itself() {
        for (epsilon, delta) in [(0.01, 1e-5), (1.0, 1e-12), (4.0, 1e-6), (60.0, 0.1)] {
            let noise = analytic_gaussian_noise(epsilon, delta).unwrap();
            let back = analytic_gaussian_epsilon(noise, delta).unwrap();
            assert!((back / epsilon - 1.0).abs() < 1e-6, "{epsilon} {delta}: {noise} {back}");
        }
        assert_eq!(analytic_gaussian_epsilon(1e9, 0.1).unwrap(), 0.0);
        assert!(analytic_gaussian_epsilon(0.0, 0.1).is_err() && analytic_gaussian_noise(1.0, 1.0).is_err());
    }

    #[test]
    fn the_logarithm_of_a_tail_is_right_where_the_tail_is_no_number_any_more() {
        // The continued fraction, with 60 decimal digits.
        for (x, expected) in [
            (-3.0, -0.001_350_809_964_748_194),
            (29.999, -454.291_211_196_123_8),
            (30.001, -454.351_277_715_458_8),
            (1e3, -500_007.826_694_812_2),
            (1e8, -5_000_000_000_000_019.0),
        ] {
            let got = ln_upper_tail(x);
            // Where the tail is nearly one its logarithm has lost digits, of which no use is made.
            let allowed = if x < 0.0 { 1e-13 } else { 1e-15 };
            assert!((got / expected - 1.0).abs() < allowed, "{x}: {got} against {expected}");
        }
        assert_eq!(ln_upper_tail(f64::INFINITY), f64::NEG_INFINITY);
    }

    #[test]
    fn concentrated_privacy_is_what_the_gaussian_has_and_a_bit_more_than_it_costs() {
        // ρ = 1/(2σ²); the conversion is a bound, the analytic Gaussian is exact.
        for sigma in [0.5, 2.0, 20.0] {
            let (bound, exact) = (
                zcdp_epsilon(0.5 / (sigma * sigma), 1e-5).unwrap(),
                analytic_gaussian_epsilon(sigma, 1e-5).unwrap(),
            );
            assert!(bound >= exact && bound < 1.25 * exact + 0.01, "{sigma}: {bound} {exact}");
        }
        assert_eq!(zcdp_epsilon(0.0, 1e-5).unwrap(), 0.0);
        assert!(zcdp_epsilon(f64::NAN, 1e-5).is_err() && zcdp_epsilon(-1.0, 1e-5).is_err());
    }

    #[test]
    fn many_coarse_shares_cost_more_than_fine_ones() {
        let sum = DiscreteSum { l2: 100.0, dimension: 1000.0 };
        let gaussian = 0.5 * 8.0 * 100.0f64.powi(2) / (50.0 * 16.0);
        assert!((sum.gaussian_rdp(50, 4.0, 8.0) / gaussian - 1.0).abs() < 1e-12, "4 lanes are fine enough");
        assert!(sum.gaussian_rdp(50, 0.5, 8.0) > 0.5 * 8.0 * 100.0f64.powi(2) / (50.0 * 0.25) * 1.01);
    }
}
