//! The least noise that keeps a promise.

use std::fmt;

use crate::accountant::Accountant;
use crate::budget::Budget;
use crate::event::{AccountingError, DpEvent, valid_epsilon};
use crate::rdp::RdpCurve;

const GRID_PER_UNIT: u64 = 10_000;
const NOISE_MULTIPLIER_MAX: u64 = 1_000_000;

/// A noise multiplier on a grid of 1/10000, so that it is the same number in a plan, in a log and in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct NoiseMultiplier {
    ten_thousandths: u64,
}

impl NoiseMultiplier {
    /// The standard deviation of the noise over the sensitivity.
    pub fn value(self) -> f64 {
        self.ten_thousandths as f64 / GRID_PER_UNIT as f64
    }
}

impl fmt::Display for NoiseMultiplier {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{}.{:04}",
            self.ten_thousandths / GRID_PER_UNIT,
            self.ten_thousandths % GRID_PER_UNIT
        )
    }
}

/// Why no noise multiplier keeps a promise.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum CalibrationError {
    /// The target or the sampling rate is no such thing.
    #[error(transparent)]
    Invalid(#[from] AccountingError),
    /// A sampling rate of zero or a run of no steps needs no noise: surely a mistake.
    #[error("a run that releases nothing needs no noise: the sampling rate and the steps must be above zero")]
    NothingReleased,
    /// The conversion from RDP alone costs more than the target, whatever the noise.
    #[error(
        "epsilon {epsilon} at delta {delta} is out of reach of {orders}: even infinite noise is accounted as epsilon {} \
         there; raise epsilon or delta",
        crate::rounded_up(*floor, 4)
    )]
    BelowConversionFloor {
        epsilon: f64,
        delta: f64,
        /// Least epsilon that these orders can state at this delta.
        floor: f64,
        /// Whose, as people read it.
        orders: &'static str,
    },
    /// No multiplier that is tried is enough by this accountant.
    #[error(
        "no noise multiplier up to {NOISE_MULTIPLIER_MAX} is accounted as epsilon {epsilon} or less over {steps} steps; raise \
         epsilon or delta, or take fewer steps"
    )]
    TooMuchNoise {
        epsilon: f64,
        /// The length of the run.
        steps: u64,
    },
}

/// The smallest noise multiplier, rounded up to 1/10000, that keeps `steps` sampled releases within the target.
///
/// # Errors
/// Numbers that mean nothing, and targets out of reach: the error says which and why.
pub fn calibrate(
    epsilon: f64,
    delta: f64,
    sampling_rate: f64,
    steps: u64,
) -> Result<NoiseMultiplier, CalibrationError> {
    let budget = Budget::new(epsilon, delta)?;
    let found = calibrate_by(epsilon, sampling_rate, steps, |noise_multiplier| {
        let mut curve = RdpCurve::zero();
        curve.compose(&DpEvent::PoissonGaussian { sampling_rate, noise_multiplier }, steps)?;
        Ok(if budget.admits(&curve) { 0.0 } else { f64::INFINITY })
    });
    found.map_err(|why| why.below_floor_of(Accountant::IntegerRdp, delta))
}

impl CalibrationError {
    /// The same, where the accountant's conversion alone costs more than the target: then it is not the noise that is too large.
    pub(crate) fn below_floor_of(self, accountant: Accountant, delta: f64) -> Self {
        match (self, accountant.floor(delta)) {
            (Self::TooMuchNoise { epsilon, .. }, Some((floor, orders))) if floor >= epsilon => {
                Self::BelowConversionFloor { epsilon, delta, floor, orders }
            }
            (why, _) => why,
        }
    }
}

/// The smallest noise multiplier, rounded up to 1/10000, at which `spent` is at most `epsilon`.
///
/// `spent` gives the epsilon of the whole run at a noise multiplier, by any accountant, and falls as that grows.
///
/// # Errors
/// What `spent` refuses; a run that releases nothing; a target that no noise up to a million reaches.
pub fn calibrate_by(
    epsilon: f64,
    sampling_rate: f64,
    steps: u64,
    spent: impl Fn(f64) -> Result<f64, AccountingError>,
) -> Result<NoiseMultiplier, CalibrationError> {
    valid_epsilon(epsilon)?;
    if sampling_rate == 0.0 || steps == 0 {
        return Err(CalibrationError::NothingReleased);
    }
    let keeps_promise =
        |multiplier: NoiseMultiplier| Ok::<_, AccountingError>(spent(multiplier.value())? <= epsilon);
    let mut enough = NoiseMultiplier { ten_thousandths: NOISE_MULTIPLIER_MAX * GRID_PER_UNIT };
    if !keeps_promise(enough)? {
        return Err(CalibrationError::TooMuchNoise { epsilon, steps });
    }
    let mut too_little = NoiseMultiplier { ten_thousandths: 0 };
    while enough.ten_thousandths - too_little.ten_thousandths > 1 {
        let middle = NoiseMultiplier {
            ten_thousandths: too_little.ten_thousandths
                + (enough.ten_thousandths - too_little.ten_thousandths) / 2,
        };
        if keeps_promise(middle)? {
            enough = middle;
        } else {
            too_little = middle;
        }
    }
    Ok(enough)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epsilon_of(noise_multiplier: f64, delta: f64, sampling_rate: f64, steps: u64) -> f64 {
        let mut curve = RdpCurve::zero();
        curve.compose(&DpEvent::PoissonGaussian { sampling_rate, noise_multiplier }, steps).unwrap();
        curve.epsilon(delta).unwrap().epsilon
    }

    #[test]
    fn the_calibrated_noise_keeps_the_promise_and_one_grid_point_less_breaks_it() {
        for (epsilon, delta, q, steps) in
            [(2.0, 1e-5, 0.01, 1_000), (8.0, 1e-6, 0.2, 200), (1.0, 1e-5, 1.0, 1), (4.0, 1e-5, 0.05, 300)]
        {
            let z = calibrate(epsilon, delta, q, steps).unwrap();
            assert!(epsilon_of(z.value(), delta, q, steps) <= epsilon);
            assert!(epsilon_of(z.value() - 1e-4, delta, q, steps) > epsilon, "{z} is not the smallest");
        }
    }

    #[test]
    fn a_target_below_the_conversion_floor_says_so() {
        let refused = calibrate(0.01, 1e-5, 0.01, 10).unwrap_err();
        let CalibrationError::BelowConversionFloor { floor, .. } = refused else {
            panic!("{refused:?}");
        };
        assert!((0.01..0.03).contains(&floor));
        assert!(refused.to_string().contains("integer orders up to 256: even infinite noise"));
    }

    #[test]
    fn every_accountant_says_what_keeps_a_target_out_of_its_reach_and_one_that_reaches_it_gives_its_noise() {
        let calibrated = |by: Accountant, epsilon| by.calibrate(epsilon, 1e-5, 0.01, 1000);
        for (by, floor, orders) in [
            (Accountant::IntegerRdp, 0.0195, "integer orders up to 256"),
            (Accountant::FractionalRdp, 0.0036, "fractional orders up to 1024"),
        ] {
            let refused = calibrated(by, 0.001).unwrap_err().to_string();
            let said = format!("{orders}: even infinite noise is accounted as epsilon {floor}");
            assert!(refused.contains(&said), "{refused}");
            // What it says of the noise is so: above the floor there is one.
            assert!(calibrated(by, 1.01 * floor).is_ok(), "{by:?}");
        }
        let (noise, spent) = calibrated(Accountant::Pld, 0.001).unwrap();
        assert!((noise.value() - 545.4).abs() < 0.5 && spent.epsilon <= 0.001, "{noise} {spent:?}");
    }

    #[test]
    fn a_target_that_takes_absurd_noise_says_so() {
        let refused = calibrate(0.05, 1e-5, 1.0, 1 << 62).unwrap_err();
        assert!(matches!(refused, CalibrationError::TooMuchNoise { .. }), "{refused:?}");
    }

    #[test]
    fn nonsense_is_refused() {
        assert_eq!(calibrate(1.0, 1e-5, 0.1, 0), Err(CalibrationError::NothingReleased));
        assert_eq!(calibrate(1.0, 1e-5, 0.0, 5), Err(CalibrationError::NothingReleased));
        assert!(matches!(calibrate(-1.0, 1e-5, 0.1, 5), Err(CalibrationError::Invalid(_))));
        assert!(matches!(calibrate(1.0, 2.0, 0.1, 5), Err(CalibrationError::Invalid(_))));
        assert!(matches!(calibrate(1.0, 1e-5, 7.0, 5), Err(CalibrationError::Invalid(_))));
    }

    #[test]
    fn a_noise_multiplier_prints_the_digits_it_has() {
        assert_eq!(NoiseMultiplier { ten_thousandths: 10_307 }.to_string(), "1.0307");
    }
}
