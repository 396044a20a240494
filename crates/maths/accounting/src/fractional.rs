//! RDP of the continuous Gaussian at any order above 1, by quadrature.

use crate::event::{AccountingError, DpEvent, valid_delta};
use crate::rdp::{conversion, log1p_exp};

/// The orders that are tried: those of Google's dp-accounting.
pub fn default_orders() -> Vec<f64> {
    let tenths = (1..100).map(|tenth| 1.0 + f64::from(tenth) / 10.0);
    let whole = (11..64).map(f64::from);
    tenths.chain(whole).chain([128.0, 256.0, 512.0, 1024.0]).collect()
}

/// An epsilon by RDP at fractional orders, and the order that gave it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FractionalGuarantee {
    /// Infinite where no order gives a finite one.
    pub epsilon: f64,
    /// The order that gave the least epsilon.
    pub order: f64,
}

/// The least epsilon over [`default_orders`] of so many of each event.
///
/// Of the continuous Gaussian: no proof carries it to discrete noise under sampling between integer orders, so that it gates
/// no budget.
///
/// # Errors
/// Events that mean nothing, a delta that is not strictly between 0 and 1, and fixed-size batches, which are accounted at
/// integer orders only.
///
/// # Paper
/// Canonne, Kamath, Steinke 2020, proposition 12, at real orders.
pub fn fractional_epsilon(
    events: &[(DpEvent, u64)],
    delta: f64,
) -> Result<FractionalGuarantee, AccountingError> {
    let delta = valid_delta(delta)?;
    let mut best = FractionalGuarantee { epsilon: f64::INFINITY, order: 2.0 };
    if events.iter().all(|(_, count)| *count == 0) {
        return Ok(FractionalGuarantee { epsilon: 0.0, ..best });
    }
    for order in default_orders() {
        let mut spent = 0.0;
        for (event, count) in events.iter().filter(|(_, count)| *count > 0) {
            spent += *count as f64 * rdp_at(event, order)?;
        }
        let epsilon = (spent + conversion(order, delta)).max(0.0);
        if epsilon < best.epsilon {
            best = FractionalGuarantee { epsilon, order };
        }
    }
    Ok(best)
}

/// Rényi divergence of one event at an order above 1.
///
/// # Errors
/// As [`fractional_epsilon`].
pub fn rdp_at(event: &DpEvent, order: f64) -> Result<f64, AccountingError> {
    let (sampling_rate, noise_multiplier) = event.continuous()?;
    Ok(event.sums(1) as f64 * sampled_gaussian(sampling_rate, noise_multiplier, order))
}

/// Mironov, Talwar, Zhang 2019, equation 4: `(α−1) r = ln E[(1 + u)^α]` for x ~ N(0, z²) and
/// `u = q (exp((2x − 1)/(2z²)) − 1)`.
///
/// E[u] = 0, so one and αu are taken off inside the expectation: what is left, `(1+u)^α − 1 − αu`, is never negative, and
/// a divergence of 10^-12 keeps its digits. The trapezoidal rule on the whole line converges exponentially for a
/// function that is analytic in a strip; here its half width is π z², where 1 + u vanishes.
pub(crate) fn sampled_gaussian(q: f64, z: f64, order: f64) -> f64 {
    if q == 0.0 {
        return 0.0;
    }
    let inverse_variance = 1.0 / (z * z);
    if q == 1.0 {
        return 0.5 * order * inverse_variance;
    }
    const POINTS_MAX: f64 = 2e6;
    let (low, high) = (-12.0 * z, order + 12.0 * z);
    let step = z.min(z * z) / 8.0;
    let points = (high - low) / step;
    if !points.is_finite() || points > POINTS_MAX {
        // So little noise that the bound without sampling is as good: it is an upper bound for every q.
        return 0.5 * order * inverse_variance;
    }
    // Logarithms of the terms, summed over their largest.
    let mut logarithms = Vec::with_capacity(points as usize + 2);
    for index in 0..=points.ceil() as usize {
        let x = low + index as f64 * step;
        logarithms.push(log_excess(q, (x - 0.5) * inverse_variance, order) - 0.5 * x * x * inverse_variance);
    }
    let largest = logarithms.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if largest == f64::NEG_INFINITY {
        return 0.0;
    }
    let sum: f64 = logarithms.iter().map(|logarithm| (logarithm - largest).exp()).sum();
    let scale = (step / (z * (2.0 * std::f64::consts::PI).sqrt())).ln();
    log1p_exp(largest + sum.ln() + scale) / (order - 1.0)
}

/// `ln((1+u)^α − 1 − αu)` for `u = q (e^t − 1)`.
fn log_excess(q: f64, t: f64, order: f64) -> f64 {
    // Beyond e^600 neither one nor αu counts.
    if t > 600.0 {
        return order * (q.ln() + t + ((-t).exp() * (1.0 - q) / q).ln_1p());
    }
    let u = q * t.exp_m1();
    if u == 0.0 {
        return f64::NEG_INFINITY;
    }
    if order * u.abs() < 0.01 {
        // Taylor's terms from the second on; the sixth is below 10^-12 of the first.
        let mut term = 0.5 * order * (order - 1.0) * u * u;
        let mut sum = 0.0;
        for k in 3..9 {
            sum += term;
            term *= (order - f64::from(k) + 1.0) / f64::from(k) * u;
        }
        return sum.ln();
    }
    let power = order * u.ln_1p();
    if power > 600.0 {
        return power;
    }
    // Convex in u with its least at 0, so never negative but for rounding.
    (power.exp_m1() - order * u).max(0.0).ln()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RdpCurve;

    #[test]
    fn at_integer_orders_the_quadrature_is_the_finite_sum() {
        for (q, z) in [(0.05, 0.6), (0.25, 3.0), (1e-6, 1.0), (0.999, 1.5), (0.01, 100.0), (0.5, 0.3)] {
            let event = DpEvent::PoissonGaussian { sampling_rate: q, noise_multiplier: z };
            let mut curve = RdpCurve::zero();
            curve.compose(&event, 1).unwrap();
            for order in [2, 3, 7, 32, 256] {
                let (exact, got) = (curve.at(order).unwrap(), rdp_at(&event, f64::from(order)).unwrap());
                assert!((got / exact - 1.0).abs() < 1e-9, "q={q} z={z} order {order}: {got} against {exact}");
            }
        }
    }

    #[test]
    fn the_divergence_grows_with_the_order() {
        let event = DpEvent::PoissonGaussian { sampling_rate: 0.02, noise_multiplier: 1.1 };
        let mut last = 0.0;
        for order in default_orders() {
            let here = rdp_at(&event, order).unwrap();
            assert!(here > last, "at {order}");
            last = here;
        }
        assert_eq!(default_orders().len(), 156);
    }

    #[test]
    fn fractional_orders_never_cost_more_than_integer_ones() {
        let events = [(DpEvent::PoissonGaussian { sampling_rate: 0.05, noise_multiplier: 0.6 }, 50)];
        let mut curve = RdpCurve::zero();
        curve.compose(&events[0].0, 50).unwrap();
        let fractional = fractional_epsilon(&events, 1e-5).unwrap();
        assert!(fractional.epsilon <= curve.epsilon(1e-5).unwrap().epsilon);
        assert!((fractional.order - 2.4).abs() < 1e-9, "{fractional:?}");
        assert_eq!(fractional_epsilon(&[], 1e-5).unwrap().epsilon, 0.0);
    }

    #[test]
    fn absurdly_little_noise_is_bounded_and_not_a_number_that_looks_fine() {
        let event = DpEvent::PoissonGaussian { sampling_rate: 0.5, noise_multiplier: 1e-9 };
        assert!(rdp_at(&event, 2.0).unwrap() > 1e17);
    }
}
