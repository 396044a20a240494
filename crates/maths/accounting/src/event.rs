//! Releases that cost privacy.

use serde::{Deserialize, Serialize};

/// One release of a noised sum, as it is written into a ledger.
///
/// Every number is a constant of the plan: an event never depends on a round's cohort or on a silo's data.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum DpEvent {
    /// A Gaussian sum over a Poisson sample whose members stay secret.
    PoissonGaussian {
        /// Probability `q` that a record is in the sample.
        sampling_rate: f64,
        /// Standard deviation of the noise over the sensitivity, `z`.
        noise_multiplier: f64,
    },
    /// A Gaussian sum over everyone, or over a sample that is public.
    Gaussian {
        /// Standard deviation of the noise over the sensitivity, `z`.
        noise_multiplier: f64,
    },
    /// A Gaussian sum over a batch of fixed size, drawn without replacement; of tables that differ in one replaced record.
    FixedSizeGaussian {
        /// Batch over table.
        sampling_rate: f64,
        /// Standard deviation of the noise over the sensitivity, `z`.
        noise_multiplier: f64,
    },
    /// So many Gaussian sums over Poisson samples, one after the other, released as one: a silo's own DP-SGD.
    PoissonGaussianSteps {
        /// Probability `q` that a record is in a step's sample.
        sampling_rate: f64,
        /// Standard deviation of the noise over the sensitivity, `z`.
        noise_multiplier: f64,
        steps: u32,
    },
}

impl DpEvent {
    pub(crate) fn validated(&self) -> Result<(f64, f64), AccountingError> {
        let (sampling_rate, noise_multiplier, _) = self.parts();
        if !(0.0..=1.0).contains(&sampling_rate) {
            return Err(AccountingError::SamplingRate { sampling_rate });
        }
        if !(noise_multiplier.is_finite() && noise_multiplier > 0.0) {
            return Err(AccountingError::NoiseMultiplier { noise_multiplier });
        }
        Ok((sampling_rate, noise_multiplier))
    }

    /// Sampling rate, noise multiplier, and how many noised sums one event is.
    pub fn parts(&self) -> (f64, f64, u64) {
        match *self {
            Self::Gaussian { noise_multiplier } => (1.0, noise_multiplier, 1),
            Self::PoissonGaussian { sampling_rate, noise_multiplier }
            | Self::FixedSizeGaussian { sampling_rate, noise_multiplier } => {
                (sampling_rate, noise_multiplier, 1)
            }
            Self::PoissonGaussianSteps { sampling_rate, noise_multiplier, steps } => {
                (sampling_rate, noise_multiplier, u64::from(steps))
            }
        }
    }

    /// The same release for units that move it twice as far as its sensitivity, as replacing one does where the promise is
    /// for adding or removing one: the noise is half of it for them. They count as always drawn: what sampling takes off the loss of one
    /// that comes or goes is not proven for one that is replaced, which is in both batches or in neither (whichever it is, the loss is
    /// at most that of a batch that it is in).
    #[must_use]
    pub fn at_twice_the_sensitivity(mut self) -> Self {
        match &mut self {
            Self::PoissonGaussian { sampling_rate, noise_multiplier }
            | Self::FixedSizeGaussian { sampling_rate, noise_multiplier }
            | Self::PoissonGaussianSteps { sampling_rate, noise_multiplier, .. } => {
                (*sampling_rate, *noise_multiplier) = (1.0, *noise_multiplier / 2.0);
            }
            Self::Gaussian { noise_multiplier } => *noise_multiplier /= 2.0,
        }
        self
    }

    /// How many noised sums so many of these events are (saturating).
    pub fn sums(&self, count: u64) -> u64 {
        let (_, _, steps) = self.parts();
        count.saturating_mul(steps)
    }

    /// The sampling rate and the noise of an event of which the continuous Gaussian's accountants know more than a bound.
    pub(crate) fn continuous(&self) -> Result<(f64, f64), AccountingError> {
        let valid = self.validated()?;
        match self {
            Self::FixedSizeGaussian { .. } => Err(AccountingError::FixedSize),
            _ => Ok(valid),
        }
    }
}

/// Why numbers describe no privacy loss.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum AccountingError {
    /// A sampling rate is no probability.
    #[error("the sampling rate {sampling_rate} is not between 0 and 1")]
    SamplingRate { sampling_rate: f64 },
    /// A noise multiplier is zero, negative or not finite.
    #[error("the noise multiplier {noise_multiplier} is not a positive finite number")]
    NoiseMultiplier { noise_multiplier: f64 },
    /// A delta is not strictly between 0 and 1.
    #[error("delta {delta} is not strictly between 0 and 1")]
    Delta { delta: f64 },
    /// A concentrated divergence is negative or not a number.
    #[error("rho {rho} is not a number from 0 on")]
    Rho { rho: f64 },
    /// Batches of fixed size under an accountant that knows Poisson samples only.
    #[error(
        "batches of fixed size are accounted by RDP at integer orders only, never as Poisson samples; use that accountant"
    )]
    FixedSize,
    /// An epsilon is zero, negative or not finite.
    #[error("epsilon {epsilon} is not a positive finite number")]
    Epsilon { epsilon: f64 },
}

pub(crate) fn valid_delta(delta: f64) -> Result<f64, AccountingError> {
    if delta > 0.0 && delta < 1.0 { Ok(delta) } else { Err(AccountingError::Delta { delta }) }
}

pub(crate) fn valid_epsilon(epsilon: f64) -> Result<f64, AccountingError> {
    if epsilon.is_finite() && epsilon > 0.0 { Ok(epsilon) } else { Err(AccountingError::Epsilon { epsilon }) }
}
