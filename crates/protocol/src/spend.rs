//! What a number of equal uploads costs.

use accounting::{AccountingError, Event, RdpCurve};

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
