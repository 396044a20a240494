//! Rényi differential privacy of composed events, at integer orders.

use crate::event::{AccountingError, DpEvent, valid_delta};
use crate::fixed_size::FixedSize;

/// Lowest order that is accounted.
pub const ORDER_MIN: u32 = 2;
/// Highest order that is accounted.
pub const ORDER_MAX: u32 = 256;
const ORDERS: usize = (ORDER_MAX - ORDER_MIN + 1) as usize;

/// The privacy spent by a sequence of events: one Rényi divergence for each integer order 2..=256.
///
/// Computed in f64 and not rounded upwards: good to about 12 digits.
#[derive(Debug, Clone, PartialEq)]
pub struct RdpCurve {
    divergences: [f64; ORDERS],
}

/// The epsilon of a curve at one delta.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Guarantee {
    /// Upper bound; never negative, infinite where no order gives a finite one.
    pub epsilon: f64,
    /// At this probability of failure.
    pub delta: f64,
    /// The order that gave the least epsilon.
    pub order: u32,
}

impl RdpCurve {
    /// The curve of nothing spent.
    pub fn zero() -> Self {
        Self { divergences: [0.0; ORDERS] }
    }

    /// Adds `count` releases of `event`.
    ///
    /// # Errors
    /// An event whose numbers are no sampling rate or noise multiplier; the curve is then unchanged.
    pub fn compose(&mut self, event: &DpEvent, count: u64) -> Result<(), AccountingError> {
        let (sampling_rate, noise_multiplier) = event.validated()?;
        let count = event.sums(count);
        if count == 0 {
            return Ok(());
        }
        let fixed_size = matches!(event, DpEvent::FixedSizeGaussian { .. })
            .then(|| FixedSize::new(sampling_rate, noise_multiplier, ORDER_MAX));
        for (spent, order) in self.divergences.iter_mut().zip(ORDER_MIN..=ORDER_MAX) {
            *spent += count as f64
                * match &fixed_size {
                    Some(fixed_size) => fixed_size.rdp(order),
                    None => sampled_gaussian(sampling_rate, noise_multiplier, order),
                };
        }
        Ok(())
    }

    /// The same spending, `count` times.
    #[must_use]
    pub fn times(&self, count: u64) -> Self {
        Self { divergences: self.divergences.map(|spent| count as f64 * spent) }
    }

    /// The divergence at `order`, if that order is accounted.
    pub fn at(&self, order: u32) -> Option<f64> {
        let index = usize::try_from(order.checked_sub(ORDER_MIN)?).ok()?;
        self.divergences.get(index).copied()
    }

    /// The least epsilon over all orders at this delta.
    ///
    /// # Errors
    /// A delta that is not strictly between 0 and 1.
    ///
    /// # Paper
    /// Canonne, Kamath, Steinke 2020, proposition 12: `ε = r(α) + ln(1 − 1/α) − (ln δ + ln α)/(α − 1)`. A curve on
    /// which nothing was spent has epsilon 0, which the bound alone does not give.
    pub fn epsilon(&self, delta: f64) -> Result<Guarantee, AccountingError> {
        Ok(self.epsilon_at(valid_delta(delta)?))
    }

    pub(crate) fn epsilon_at(&self, delta: f64) -> Guarantee {
        let mut best = Guarantee { epsilon: f64::INFINITY, delta, order: ORDER_MIN };
        if self.divergences.iter().all(|spent| *spent == 0.0) {
            best.epsilon = 0.0;
            return best;
        }
        for (spent, order) in self.divergences.iter().zip(ORDER_MIN..=ORDER_MAX) {
            let epsilon = (spent + conversion(f64::from(order), delta)).max(0.0);
            if epsilon < best.epsilon {
                best.epsilon = epsilon;
                best.order = order;
            }
        }
        best
    }
}

/// Epsilon at `delta` of so many of each of these events together, as budgets are gated by: RDP at integer orders.
///
/// # Errors
/// Numbers that are no sampling rate, noise multiplier or delta.
pub fn epsilon_of(
    events: impl IntoIterator<Item = (DpEvent, u64)>,
    delta: f64,
) -> Result<f64, AccountingError> {
    let mut curve = RdpCurve::zero();
    for (event, count) in events {
        curve.compose(&event, count)?;
    }
    Ok(curve.epsilon(delta)?.epsilon)
}

/// [`epsilon_of`] where numbers that mean nothing count as infinitely expensive: what is not understood is not spent.
pub fn epsilon_or_infinity(events: impl IntoIterator<Item = (DpEvent, u64)>, delta: f64) -> f64 {
    epsilon_of(events, delta).unwrap_or(f64::INFINITY)
}

/// What the conversion to epsilon adds to a divergence at `order`; what is left when the noise is infinite.
pub(crate) fn conversion(order: f64, delta: f64) -> f64 {
    (-1.0 / order).ln_1p() - (delta.ln() + order.ln()) / (order - 1.0)
}

/// RDP of the Poisson-subsampled Gaussian at an integer order.
///
/// Mironov, Talwar, Zhang 2019, at integer orders: `(α−1) r = ln Σ_k C(α,k) (1−q)^(α−k) q^k exp(k(k−1)/(2z²))`. The
/// binomial weights sum to one, so one is taken out of the sum term by term: for a small q the logarithm is of
/// 1 + 10^-10 or so, and adding first would lose its digits.
fn sampled_gaussian(sampling_rate: f64, noise_multiplier: f64, order: u32) -> f64 {
    let q = sampling_rate;
    let alpha = f64::from(order);
    let inverse_variance = 1.0 / (noise_multiplier * noise_multiplier);
    if q == 0.0 {
        return 0.0;
    }
    if q == 1.0 {
        return 0.5 * alpha * inverse_variance;
    }
    let mut log_binomial = 0.0;
    let mut excess = LogSum::empty();
    for k in 1..=order {
        let k = f64::from(k);
        log_binomial += ((alpha - k + 1.0) / k).ln();
        if k >= 2.0 {
            let log_weight = log_binomial + (alpha - k) * (-q).ln_1p() + k * q.ln();
            excess.add(log_weight + log_expm1(0.5 * k * (k - 1.0) * inverse_variance));
        }
    }
    log1p_exp(excess.logarithm()) / (alpha - 1.0)
}

/// `ln(exp(x) − 1)` for x > 0 without overflow.
pub(crate) fn log_expm1(x: f64) -> f64 {
    if x < 1.0 { x.exp_m1().ln() } else { x + (-(-x).exp()).ln_1p() }
}

/// `ln(1 + exp(x))` without overflow.
pub(crate) fn log1p_exp(x: f64) -> f64 {
    if x > 0.0 { x + (-x).exp().ln_1p() } else { x.exp().ln_1p() }
}

/// A sum of positive terms that are known, and kept, as logarithms.
pub(crate) struct LogSum {
    largest: f64,
    sum_over_largest: f64,
}

impl LogSum {
    pub(crate) fn empty() -> Self {
        Self { largest: f64::NEG_INFINITY, sum_over_largest: 0.0 }
    }

    pub(crate) fn add(&mut self, logarithm: f64) {
        // Equal infinities would subtract to NaN: an infinite sum stays infinite, a vanished term adds nothing.
        if logarithm == f64::NEG_INFINITY || self.largest == f64::INFINITY {
            return;
        }
        if logarithm > self.largest {
            self.sum_over_largest = self.sum_over_largest * (self.largest - logarithm).exp() + 1.0;
            self.largest = logarithm;
        } else {
            self.sum_over_largest += (logarithm - self.largest).exp();
        }
    }

    pub(crate) fn logarithm(&self) -> f64 {
        if self.largest.is_infinite() { self.largest } else { self.largest + self.sum_over_largest.ln() }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn spent(sampling_rate: f64, noise_multiplier: f64, count: u64) -> RdpCurve {
        let mut curve = RdpCurve::zero();
        curve.compose(&DpEvent::PoissonGaussian { sampling_rate, noise_multiplier }, count).unwrap();
        curve
    }

    #[test]
    fn order_two_is_the_closed_form() {
        // At order 2 the sum has three terms: ln(1 + q² (exp(1/z²) − 1)).
        for (q, z) in [(0.1, 2.0), (0.001, 0.8), (1e-6, 5.0), (0.999, 1.5)] {
            let closed: f64 = (q * q * f64::exp_m1(1.0 / (z * z))).ln_1p();
            let got = spent(q, z, 1).at(2).unwrap();
            assert!((got / closed - 1.0).abs() < 1e-12, "q={q} z={z}: {got} against {closed}");
        }
    }

    #[test]
    fn sampling_everyone_is_the_gaussian_and_sampling_nobody_is_free() {
        let mut gaussian = RdpCurve::zero();
        gaussian.compose(&DpEvent::Gaussian { noise_multiplier: 3.0 }, 1).unwrap();
        assert_eq!(gaussian, spent(1.0, 3.0, 1));
        assert_eq!(gaussian.at(36), Some(2.0));
        assert_eq!(spent(0.0, 3.0, 1_000), RdpCurve::zero());
        let nearly_everyone = spent(1.0 - 1e-12, 3.0, 1);
        assert!((nearly_everyone.at(36).unwrap() - 2.0).abs() < 1e-9, "no jump at q = 1");
    }

    #[test]
    fn five_steps_released_as_one_cost_what_five_releases_do() {
        let five = DpEvent::PoissonGaussianSteps { sampling_rate: 0.2, noise_multiplier: 1.1, steps: 5 };
        let one = DpEvent::PoissonGaussian { sampling_rate: 0.2, noise_multiplier: 1.1 };
        let mut composed = RdpCurve::zero();
        composed.compose(&five, 20).unwrap();
        assert_eq!(composed, spent(0.2, 1.1, 100));
        let by = |event, count| crate::fractional_epsilon(&[(event, count)], 1e-5).unwrap().epsilon;
        assert!((by(five, 20) / by(one, 100) - 1.0).abs() < 1e-12);
        let by = |event, count| crate::pld_epsilon(&[(event, count)], 1e-5).unwrap();
        assert!((by(five, 20) / by(one, 100) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn nothing_spent_has_epsilon_zero_and_a_single_release_does_not() {
        assert_eq!(RdpCurve::zero().epsilon(1e-5).unwrap().epsilon, 0.0);
        assert!(spent(0.01, 1.0, 1).epsilon(1e-5).unwrap().epsilon > 0.0);
        assert_eq!(spent(0.5, 1e3, 1).epsilon(0.9).unwrap().epsilon, 0.0, "never negative");
    }

    #[test]
    fn orders_outside_the_grid_are_not_reported() {
        let curve = spent(0.1, 1.0, 1);
        assert!(curve.at(2).is_some() && curve.at(256).is_some());
        assert!(curve.at(0).is_none() && curve.at(1).is_none() && curve.at(257).is_none());
    }

    #[test]
    fn a_vanishing_noise_costs_infinity_and_is_never_a_number_that_looks_fine() {
        assert_eq!(spent(0.1, 1e-200, 1).epsilon(1e-5).unwrap().epsilon, f64::INFINITY);
    }

    #[test]
    fn events_are_composed_together_and_what_means_nothing_is_infinite_where_it_is_no_error() {
        let (one, other) =
            (DpEvent::Gaussian { noise_multiplier: 3.0 }, DpEvent::Gaussian { noise_multiplier: 5.0 });
        let mut curve = spent(1.0, 3.0, 2);
        curve.compose(&other, 4).unwrap();
        let together = [(one, 2), (other, 4)];
        assert_eq!(epsilon_of(together, 1e-5), Ok(curve.epsilon(1e-5).unwrap().epsilon));
        assert_eq!(epsilon_or_infinity(together, 1e-5), epsilon_of(together, 1e-5).unwrap());
        let nothing = [(one, 2), (DpEvent::Gaussian { noise_multiplier: f64::NAN }, 1)];
        assert!(matches!(epsilon_of(nothing, 1e-5), Err(AccountingError::NoiseMultiplier { .. })));
        assert_eq!(epsilon_or_infinity(nothing, 1e-5), f64::INFINITY);
        assert_eq!(epsilon_or_infinity(together, 1.0), f64::INFINITY);
    }

    #[test]
    fn events_that_mean_nothing_are_refused() {
        let mut curve = RdpCurve::zero();
        for sampling_rate in [-0.1, 1.1, f64::NAN] {
            let event = DpEvent::PoissonGaussian { sampling_rate, noise_multiplier: 1.0 };
            assert!(matches!(curve.compose(&event, 1), Err(AccountingError::SamplingRate { .. })));
        }
        for noise_multiplier in [0.0, -1.0, f64::INFINITY, f64::NAN] {
            let event = DpEvent::Gaussian { noise_multiplier };
            assert!(matches!(curve.compose(&event, 1), Err(AccountingError::NoiseMultiplier { .. })));
        }
        assert_eq!(curve, RdpCurve::zero());
        for delta in [0.0, 1.0, -1.0, f64::NAN] {
            assert!(matches!(curve.epsilon(delta), Err(AccountingError::Delta { .. })));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn epsilon_grows_with_steps_and_sampling_and_falls_with_noise(
            q in 1e-4..0.5_f64, z in 0.5..20.0_f64, steps in 1..5_000_u64,
        ) {
            let epsilon = |q, z, steps| spent(q, z, steps).epsilon(1e-5).unwrap().epsilon;
            let base = epsilon(q, z, steps);
            prop_assert!(epsilon(q, z, steps + 1) > base);
            prop_assert!(epsilon(q * 1.5, z, steps) > base);
            prop_assert!(epsilon(q, z * 1.1, steps) < base);
        }

        #[test]
        fn composing_is_adding(q in 1e-3..0.5_f64, z in 0.5..5.0_f64, steps in 2..200_u64) {
            let mut twice = spent(q, z, steps - 1);
            twice.compose(&DpEvent::PoissonGaussian { sampling_rate: q, noise_multiplier: z }, 1).unwrap();
            let once = spent(q, z, steps);
            for order in ORDER_MIN..=ORDER_MAX {
                let (a, b) = (once.at(order).unwrap(), twice.at(order).unwrap());
                prop_assert!((a / b - 1.0).abs() < 1e-12);
            }
        }
    }
}
