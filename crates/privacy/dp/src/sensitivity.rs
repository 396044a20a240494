//! How far one unit can move what is sent, and the noise that each silo adds to hide it.

use crate::scale::Scale;
use crate::sigma::{Sigma, SigmaError};

/// Least standard deviation of one silo's noise: above it, a sum of discrete Gaussians is as good as one.
pub const SIGMA_LOCAL_MIN: f64 = 4.0;

/// Why a silo's share of the noise cannot be drawn.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum NoiseShareError {
    /// The share is so fine that summing shares would cost privacy.
    #[error(
        "each silo would add noise of standard deviation {sigma:.4}, below {SIGMA_LOCAL_MIN}: raise the scale or \
         the noise multiplier"
    )]
    TooFine { sigma: f64 },
    /// The share is no standard deviation of the sampler.
    #[error("a silo's share of the noise cannot be drawn")]
    NotSampled(#[from] SigmaError),
    /// Noise shared by nobody.
    #[error("honest_min is 0: nobody adds the noise")]
    NobodyAddsNoise,
}

/// `Δ = s·C + √d`: how far adding one clipped term moves a sum that is rounded once, to nearest.
///
/// # Units
/// Lanes.
///
/// # Privacy
/// One record changes `round(S)` to `round(S + g)` with `‖g‖ ≤ s·C`; each of the `d` coordinates moves by at most
/// one more than `g` does.
pub fn delta_l2_sum(scale: Scale, clip_norm: f64, dimension: usize) -> f64 {
    upwards(scale.factor() * clip_norm + (dimension as f64).sqrt())
}

/// The bound on a whole update after stochastic rounding:
/// `Δ = min(s·C + √d, √(s²C² + d/4 + √(2 ln 1/β)(s·C + √d/2)))` with `β = e^(−1/2)`.
///
/// # Units
/// Lanes.
///
/// # Paper
/// Kairouz, Liu, Steinke 2021, conditional randomised rounding. `√(2 ln 1/β)` is 1 at this β.
pub fn delta_l2_update(scale: Scale, clip_norm: f64, dimension: usize) -> f64 {
    let norm = scale.factor() * clip_norm;
    let root = (dimension as f64).sqrt();
    let likely = (norm * norm + 0.25 * dimension as f64 + norm + 0.5 * root).sqrt();
    upwards((norm + root).min(likely))
}

/// One silo's share of noise of standard deviation `sigma_total`: `σ_total/√honest_min`, rounded up.
///
/// # Errors
/// A share below [`SIGMA_LOCAL_MIN`] or beyond the sampler, or an `honest_min` of 0.
pub fn sigma_local(sigma_total: f64, honest_min: usize) -> Result<Sigma, NoiseShareError> {
    if honest_min == 0 {
        return Err(NoiseShareError::NobodyAddsNoise);
    }
    let sigma = Sigma::at_least(upwards(sigma_total / (honest_min as f64).sqrt()))?;
    if sigma.value() < SIGMA_LOCAL_MIN {
        return Err(NoiseShareError::TooFine { sigma: sigma.value() });
    }
    Ok(sigma)
}

/// One silo's share of what a sum of `survivors` needs more of than a sum of `survivors + 1`, where noise of standard
/// deviation `sigma_total` is to be in both: `σ_total·√(1/k − 1/(k + 1))` of `k = survivors` that add it, rounded up.
///
/// A silo that adds `σ_total/√n` and one such share for each `k` from `m` to `n − 1` adds `σ_total/√m` in all; taking off
/// those below `k` leaves `σ_total/√k`.
///
/// # Errors
/// As [`sigma_local`].
pub fn sigma_excess(sigma_total: f64, survivors: usize) -> Result<Sigma, NoiseShareError> {
    if survivors == 0 {
        return Err(NoiseShareError::NobodyAddsNoise);
    }
    let survivors = survivors as f64;
    let sigma = Sigma::at_least(upwards(sigma_total / (survivors * (survivors + 1.0)).sqrt()))?;
    if sigma.value() < SIGMA_LOCAL_MIN {
        return Err(NoiseShareError::TooFine { sigma: sigma.value() });
    }
    Ok(sigma)
}

/// A bound above what a few floating-point operations may have rounded down.
fn upwards(value: f64) -> f64 {
    value * (1.0 + 16.0 * f64::EPSILON)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn scale(bits: u32) -> Scale {
        Scale::from_bits(bits).unwrap()
    }

    #[test]
    fn the_sensitivities_are_the_papers() {
        assert!((delta_l2_sum(scale(10), 0.5, 10_000) - 612.0).abs() < 1e-9);
        // √(2^40 + 2^18 + 2^20 + 2^9).
        let fine = delta_l2_update(scale(20), 1.0, 1 << 20);
        assert!((fine - ((1_u64 << 40) as f64 + 262_144.0 + 1_048_576.0 + 512.0).sqrt()).abs() < 1e-6);
        let coarse = delta_l2_update(scale(0), 0.001, 1);
        assert!((coarse - (1e-6_f64 + 0.25 + 0.001 + 0.5).sqrt()).abs() < 1e-12);
        assert!(delta_l2_update(scale(8), 1.0, 100) < delta_l2_sum(scale(8), 1.0, 100));
    }

    #[test]
    fn shares_that_are_too_fine_too_coarse_or_nobodys_are_refused() {
        assert!(matches!(sigma_local(7.9, 4), Err(NoiseShareError::TooFine { .. })));
        assert!(sigma_local(8.0, 4).is_ok());
        assert!(matches!(sigma_local(1e9, 1), Err(NoiseShareError::NotSampled(_))));
        assert!(matches!(sigma_local(f64::NAN, 1), Err(NoiseShareError::NotSampled(_))));
        assert_eq!(sigma_local(100.0, 0), Err(NoiseShareError::NobodyAddsNoise));
    }

    #[test]
    fn shares_of_the_excess_that_are_too_fine_or_nobodys_are_refused() {
        assert!(matches!(sigma_excess(17.8, 4), Err(NoiseShareError::TooFine { .. })));
        assert!(sigma_excess(17.9, 4).is_ok());
        assert_eq!(sigma_excess(100.0, 0), Err(NoiseShareError::NobodyAddsNoise));
    }

    proptest! {
        #[test]
        fn what_is_left_after_any_removal_is_the_noise_and_hardly_more(
            sigma_total in 1e4..1e8_f64, fewest in 1..60_usize, more in 0..60_usize,
        ) {
            let most = fewest + more;
            let base = sigma_local(sigma_total, most).unwrap().value().powi(2);
            for survivors in fewest..=most {
                // Those that stay: the components that a sum of fewer does not need are gone.
                let kept = (survivors..most).map(|k| sigma_excess(sigma_total, k).unwrap().value().powi(2));
                let variance = (base + kept.sum::<f64>()) * survivors as f64;
                prop_assert!(variance >= sigma_total * sigma_total * (1.0 - 1e-14));
                prop_assert!(variance <= sigma_total * sigma_total * (1.0 + 1e-7));
            }
        }

        #[test]
        fn the_shares_of_the_honest_add_up_to_the_noise_and_hardly_more(
            sigma_total in 1e3..1e8_f64, honest_min in 1..60_000_usize,
        ) {
            if let Ok(share) = sigma_local(sigma_total, honest_min) {
                let variance = share.value() * share.value() * honest_min as f64;
                prop_assert!(variance >= sigma_total * sigma_total);
                prop_assert!(variance <= sigma_total * sigma_total * (1.0 + 1e-7));
            } else {
                prop_assert!(sigma_total / (honest_min as f64).sqrt() < SIGMA_LOCAL_MIN);
            }
        }
    }
}
