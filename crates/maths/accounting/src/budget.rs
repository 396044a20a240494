//! How much may be spent, and how far it reaches.

use serde::{Deserialize, Serialize};

use crate::event::{AccountingError, DpEvent, valid_delta, valid_epsilon};
use crate::rdp::RdpCurve;
use crate::shown::rounded_up;

/// The most privacy a data set may lose.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Budget {
    epsilon: f64,
    delta: f64,
}

impl Budget {
    /// A budget of `epsilon` at `delta`.
    ///
    /// # Errors
    /// An epsilon that is not positive and finite; a delta that is not strictly between 0 and 1.
    pub fn new(epsilon: f64, delta: f64) -> Result<Self, AccountingError> {
        Ok(Self { epsilon: valid_epsilon(epsilon)?, delta: valid_delta(delta)? })
    }

    /// The cap on epsilon.
    pub fn epsilon(&self) -> f64 {
        self.epsilon
    }

    /// The delta at which epsilon is taken.
    pub fn delta(&self) -> f64 {
        self.delta
    }

    /// Whether everything on `curve` fits.
    pub fn admits(&self, curve: &RdpCurve) -> bool {
        curve.epsilon_at(self.delta).epsilon <= self.epsilon
    }
}

/// One more round would pass the limit of everything that a silo's data may spend.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error, Serialize, Deserialize)]
#[error(
    "one more round would bring this silo's data to epsilon {}, its limit is {limit}",
    rounded_up(*after, 4)
)]
pub struct OverBudget {
    /// Epsilon with it.
    pub after: f64,
    /// The most that there may be.
    pub limit: f64,
}

/// One more round would pass the limit of what a silo's data may spend within any stretch of time of one length.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error, Serialize, Deserialize)]
#[error(
    "one more round would bring this silo's data to epsilon {} within {days} days, its limit is {limit}",
    rounded_up(*after, 4)
)]
pub struct OverPeriod {
    /// Epsilon of the period with it.
    pub after: f64,
    /// The most that there may be.
    pub limit: f64,
    /// The period's length.
    pub days: u32,
}

/// How often `event` may happen before `budget` is overspent, from nothing.
///
/// `u64::MAX` where the event costs nothing.
///
/// # Errors
/// An event whose numbers are no sampling rate or noise multiplier.
pub fn steps_allowed(event: &DpEvent, budget: &Budget) -> Result<u64, AccountingError> {
    let admitted = |steps: u64| {
        let mut curve = RdpCurve::zero();
        curve.compose(event, steps)?;
        Ok::<_, AccountingError>(budget.admits(&curve))
    };
    if admitted(u64::MAX)? {
        return Ok(u64::MAX);
    }
    let (mut allowed, mut refused) = (0, 1);
    while admitted(refused)? {
        allowed = refused;
        refused = refused.saturating_mul(2);
    }
    while refused - allowed > 1 {
        let middle = allowed + (refused - allowed) / 2;
        if admitted(middle)? {
            allowed = middle;
        } else {
            refused = middle;
        }
    }
    Ok(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_allowed_step_fits_and_the_next_does_not() {
        let budget = Budget::new(2.0, 1e-5).unwrap();
        for event in [
            DpEvent::PoissonGaussian { sampling_rate: 0.01, noise_multiplier: 1.0 },
            DpEvent::Gaussian { noise_multiplier: 20.0 },
        ] {
            let steps = steps_allowed(&event, &budget).unwrap();
            assert!(steps > 1);
            let mut curve = RdpCurve::zero();
            curve.compose(&event, steps).unwrap();
            assert!(budget.admits(&curve));
            curve.compose(&event, 1).unwrap();
            assert!(!budget.admits(&curve));
        }
    }

    #[test]
    fn a_release_that_overspends_at_once_is_allowed_no_time() {
        let budget = Budget::new(0.5, 1e-5).unwrap();
        assert_eq!(steps_allowed(&DpEvent::Gaussian { noise_multiplier: 1.0 }, &budget), Ok(0));
    }

    #[test]
    fn a_release_that_costs_nothing_is_never_the_limit() {
        let budget = Budget::new(0.5, 1e-5).unwrap();
        let event = DpEvent::PoissonGaussian { sampling_rate: 0.0, noise_multiplier: 1.0 };
        assert_eq!(steps_allowed(&event, &budget), Ok(u64::MAX));
    }

    #[test]
    fn budgets_that_mean_nothing_are_refused() {
        for epsilon in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(matches!(Budget::new(epsilon, 1e-5), Err(AccountingError::Epsilon { .. })));
        }
        assert!(matches!(Budget::new(1.0, 0.0), Err(AccountingError::Delta { .. })));
    }
}
