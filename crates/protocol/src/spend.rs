//! What a number of equal uploads costs.

use accounting::{AccountingError, Event, RdpCurve};
use identity::Plan;

/// What one round of a plan costs, computed once.
pub(crate) struct Price {
    one: RdpCurve,
    delta: f64,
}

impl Price {
    /// `None` in the mode without noise.
    ///
    /// # Errors
    /// Numbers that a validated plan cannot hold.
    pub(crate) fn of(plan: &Plan) -> Result<Option<Self>, AccountingError> {
        let Some((event, (_, delta))) = plan.event().zip(plan.budget()) else { return Ok(None) };
        let mut one = RdpCurve::zero();
        one.compose(&event, 1)?;
        one.epsilon(delta)?;
        Ok(Some(Self { one, delta }))
    }

    /// Epsilon after this many rounds.
    pub(crate) fn epsilon(&self, rounds: u64) -> f64 {
        self.one.times(rounds).epsilon(self.delta).map_or(f64::INFINITY, |guarantee| guarantee.epsilon)
    }
}

/// Epsilon at `delta` of all these events together: RDP at integer orders, the bound that gates the budget.
///
/// Numbers that a validated plan cannot hold count as infinitely expensive: what is not understood is not spent.
pub(crate) fn epsilon_of<'a>(spent: impl IntoIterator<Item = (&'a Event, u64)>, delta: f64) -> f64 {
    let compose = || -> Result<f64, AccountingError> {
        let mut curve = RdpCurve::zero();
        for (event, count) in spent {
            curve.compose(event, count)?;
        }
        Ok(curve.epsilon(delta)?.epsilon)
    };
    compose().unwrap_or(f64::INFINITY)
}
