//! Batches of fixed size, drawn without replacement: accounted as what they are.

use crate::rdp::{LogSum, log_expm1, log1p_exp};

/// RDP of a Gaussian sum over such a batch, under replacement of one record.
///
/// # Paper
/// Wang, Balle, Kasiviswanathan 2019, theorem 27 with the ternary divergences of its section 3.3; as in dp-accounting, a
/// replaced record moves the sum by the sensitivity that the noise multiplier is relative to.
pub(crate) struct FixedSize {
    log_rate: f64,
    noise_multiplier: f64,
    /// Logarithms of the j-th terms of the bound without binomials and sampling, from j = 2 on.
    terms: Vec<f64>,
}

impl FixedSize {
    pub(crate) fn new(sampling_rate: f64, noise_multiplier: f64, order_max: u32) -> Self {
        let inverse_variance = 1.0 / (noise_multiplier * noise_multiplier);
        // E[(P/Q)^j] of the Gaussian at sensitivity 1.
        let moment = |j: f64| 0.5 * j * (j - 1.0) * inverse_variance;
        let even: Vec<f64> =
            (0..=order_max / 2 + 1).map(|half| log_even_moment(noise_multiplier, 2 * half)).collect();
        let at = |half: u32| even.get(half as usize).copied().unwrap_or(f64::INFINITY);
        let term = |j: u32| {
            let far = moment(f64::from(j)) + 2f64.ln();
            if j == 2 {
                return (4f64.ln() + log_expm1(inverse_variance)).min(far);
            }
            (4f64.ln() + 0.5 * (at(j / 2) + at(j.div_ceil(2)))).min(far)
        };
        Self { log_rate: sampling_rate.ln(), noise_multiplier, terms: (2..=order_max).map(term).collect() }
    }

    /// The bound at an integer order.
    pub(crate) fn rdp(&self, order: u32) -> f64 {
        let whole = 0.5 * f64::from(order) / (self.noise_multiplier * self.noise_multiplier);
        if self.log_rate == f64::NEG_INFINITY {
            return 0.0;
        }
        let mut log_binomial = f64::from(order).ln();
        let mut excess = LogSum::empty();
        for (j, term) in (2..=order).zip(&self.terms) {
            let j = f64::from(j);
            log_binomial += ((f64::from(order) - j + 1.0) / j).ln();
            excess.add(log_binomial + j * self.log_rate + term);
        }
        // Taking the whole table is never worse than this bound says.
        (log1p_exp(excess.logarithm()) / (f64::from(order) - 1.0)).min(whole)
    }
}

/// `ln E[(P/Q − 1)^k]` under Q = N(0, z²), P = N(1, z²), for an even k; by the trapezoidal rule, whose terms are all positive.
fn log_even_moment(z: f64, k: u32) -> f64 {
    const POINTS_MAX: f64 = 1e6;
    if k == 0 {
        return 0.0;
    }
    let inverse_variance = 1.0 / (z * z);
    let step = z.min(z * z) / 8.0;
    let (low, high) = (-12.0 * z, f64::from(k) + 12.0 * z);
    let points = (high - low) / step;
    if !points.is_finite() || points > POINTS_MAX {
        return f64::INFINITY;
    }
    let mut sum = LogSum::empty();
    for index in 0..=points.ceil() as u64 {
        let x = low + index as f64 * step;
        let t = (x - 0.5) * inverse_variance;
        let distance = if t > 0.0 { log_expm1(t) } else { (-t.exp_m1()).ln() };
        sum.add(f64::from(k) * distance - 0.5 * x * x * inverse_variance);
    }
    sum.logarithm() + (step / (z * (2.0 * std::f64::consts::PI).sqrt())).ln()
}
