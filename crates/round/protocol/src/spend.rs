//! What a number of equal uploads costs.

use accounting::{AccountingError, RdpCurve, Relation, Unit};
use checkpoint::PrivacySpent;
use plan::Plan;

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

/// What a run has spent after so many sums, in all the words that a claim of privacy needs: as the coordinator writes it into its
/// records, and anybody with the plan can compute.
///
/// # Errors
/// Numbers that a validated plan cannot hold.
pub fn privacy_spent(plan: &Plan, steps: u64) -> Result<PrivacySpent, AccountingError> {
    Ok(spent(plan, Price::of(plan)?.as_ref(), steps))
}

pub(crate) fn spent(plan: &Plan, price: Option<&Price>, steps: u64) -> PrivacySpent {
    let mode = plan.mode();
    let spent = price.map(|price| price.epsilon(steps)).zip(plan.budget());
    PrivacySpent {
        mode: mode.name().into(),
        unit: Unit::or_none(plan.unit()).into(),
        relation: Relation::or_none(plan.privacy.relation()).into(),
        epsilon: spent.map(|(epsilon, _)| epsilon),
        delta: spent.map(|(_, (_, delta))| delta),
        accountant: if spent.is_some() { "rdp, integer orders" } else { "none" }.into(),
        steps,
        noise_by: mode.noise_by().into(),
        trust: plan.trust(),
    }
}
