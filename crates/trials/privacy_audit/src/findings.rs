//! What an audit says of a claim.

use accounting::{DpEvent, Relation, Unit, epsilon_of, rounded_down, rounded_up};
use empirical::membership::Attack;
use empirical::one_run::{Guesses, canaries_to_contradict, epsilon_bound_attainable, epsilon_lower_bound};
use plan::Plan;
use serde::Serialize;

use crate::error::AuditError;

/// What is claimed of the run.
#[derive(Debug, Clone, Serialize)]
pub struct Claim {
    /// The plan's mode of privacy.
    pub mode: String,
    /// `None` where the mode promises nothing.
    pub epsilon: Option<f64>,
    /// `None` where the mode promises nothing.
    pub delta: Option<f64>,
    /// What one unit of the promise is.
    pub unit: String,
    /// The neighbouring relation of the promise.
    pub relation: String,
    /// Whom the promise trusts.
    pub trust: String,
    /// What the claim is for one canary. Where silos are the unit and may be left out, a canary replaces its silo's update by
    /// another, which is twice as far.
    pub epsilon_of_a_canary: Option<f64>,
}

impl Claim {
    /// What the plan's noise keeps over its whole run.
    ///
    /// # Errors
    /// [`AuditError::Accounting`]
    pub fn of(plan: &Plan) -> Result<Self, AuditError> {
        let epsilon = plan.event().map(|event| composed(plan, event, plan.rounds)).transpose()?;
        Self::after(plan, epsilon.flatten(), plan.rounds)
    }

    /// What is said to be spent by so many sums.
    pub(crate) fn after(plan: &Plan, epsilon: Option<f64>, sums: u64) -> Result<Self, AuditError> {
        let delta = plan.budget().map(|(_, delta)| delta);
        let mode = plan.mode();
        let epsilon_of_a_canary = match plan.event().filter(|_| plan.unit() == Some(Unit::Silo)) {
            Some(event) => composed(plan, event.at_twice_the_sensitivity(), sums)?,
            None => epsilon,
        };
        Ok(Self {
            mode: mode.name().into(),
            epsilon,
            delta,
            unit: Unit::or_none(plan.unit()).into(),
            relation: Relation::or_none(plan.privacy.relation()).into(),
            trust: plan.trust(),
            epsilon_of_a_canary,
        })
    }
}

/// Epsilon of so many events, at the plan's delta.
fn composed(plan: &Plan, event: DpEvent, count: u64) -> Result<Option<f64>, AuditError> {
    let Some((_, delta)) = plan.budget() else { return Ok(None) };
    Ok(Some(epsilon_of([(event, count)], delta)?))
}

/// What an audit says of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The guesses are better than the claim allows.
    Contradicted,
    /// They could have been, and are not.
    NotContradicted,
    /// So few guesses contradict no such claim, were all of them right.
    CannotTell,
    /// The mode claims nothing.
    NothingClaimed,
}

/// The guesses are better than the claim allows.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error(
    "the audit CONTRADICTS THE CLAIM: at confidence {confidence} epsilon is above {}, claimed for a canary is {}",
    rounded_down(*found, 3),
    rounded_up(*claimed, 3)
)]
pub struct Contradicted {
    /// Of the lower bound.
    pub confidence: f64,
    /// A lower bound on epsilon.
    pub found: f64,
    /// Epsilon for one canary.
    pub claimed: f64,
}

/// What the attacks found. Its fields are a contract with scripts.
#[derive(Debug, Serialize)]
pub struct Findings {
    /// What they are held against.
    pub claim: Claim,
    /// Of all runs.
    pub canaries: u64,
    /// Of them: the surest.
    pub guesses: u64,
    /// Of the guesses.
    pub correct: u64,
    /// How sure the lower bound is, between 0 and 1.
    pub confidence: f64,
    /// The largest epsilon that the guesses contradict.
    pub epsilon_lower_bound: f64,
    /// The largest that they could have contradicted: all right.
    pub epsilon_bound_attainable: f64,
    /// On the claim.
    pub verdict: Verdict,
    /// Losses of members against those of held-out records, on the last model.
    pub membership: Option<Membership>,
    /// How well a record is read off what leaves a silo, as a correlation with it.
    pub inversion: Option<Inversion>,
}

/// How well members are separated from others by their losses.
#[derive(Debug, Serialize)]
pub struct Membership {
    /// Records that were trained on.
    pub members: usize,
    /// Records that were not.
    pub others: usize,
    /// Area under the curve; 0.5 is guessing.
    pub auc: f64,
    /// Of the area, at 95 %.
    pub auc_interval_95: [f64; 2],
    /// Share of the members that are found where one of a hundred others is taken for one.
    pub found_at_one_percent: f64,
}

impl Membership {
    pub(crate) fn of(members: usize, others: usize, attack: Attack) -> Self {
        Self {
            members,
            others,
            auc: attack.auc,
            auc_interval_95: attack.interval,
            found_at_one_percent: attack.found_at_one_percent,
        }
    }
}

/// How well a record is read off the update that it alone made, as correlations with it.
#[derive(Debug, Serialize)]
pub struct Inversion {
    /// As a coordinator without masks would.
    pub unmasked: f64,
    /// With a share of the noise, and no mask; `None` where no share is added to one record's update.
    pub noised: Option<f64>,
    /// As it leaves the silo.
    pub masked: f64,
}

impl Findings {
    /// What an audit of so many canaries can show of this plan, before a coin is guessed.
    ///
    /// # Errors
    /// [`AuditError::Accounting`]
    pub fn foreseen(plan: &Plan, canaries: u64, confidence: f64) -> Result<Self, AuditError> {
        let guesses = Guesses { canaries, guesses: 2 * (canaries / 4), correct: 0 };
        Ok(Self::new(Claim::of(plan)?, guesses, confidence))
    }

    /// Holds guesses against a claim; the other attacks' fields are still empty.
    pub(crate) fn new(claim: Claim, guesses: Guesses, confidence: f64) -> Self {
        // Where nothing is claimed, bounds are those of pure epsilon.
        let delta = claim.delta.unwrap_or(0.0);
        let bound = epsilon_lower_bound(&guesses, delta, confidence);
        let attainable = epsilon_bound_attainable(&guesses, delta, confidence);
        let verdict = match claim.epsilon_of_a_canary {
            None => Verdict::NothingClaimed,
            Some(claimed) if bound > claimed => Verdict::Contradicted,
            Some(claimed) if attainable > claimed => Verdict::NotContradicted,
            Some(_) => Verdict::CannotTell,
        };
        Self {
            claim,
            canaries: guesses.canaries,
            guesses: guesses.guesses,
            correct: guesses.correct,
            confidence,
            epsilon_lower_bound: bound,
            epsilon_bound_attainable: attainable,
            verdict,
            membership: None,
            inversion: None,
        }
    }

    /// The verdict as scripts want it.
    ///
    /// # Errors
    /// [`Contradicted`], where the claim is.
    pub fn check(&self) -> Result<(), Contradicted> {
        match (self.verdict, self.claim.epsilon_of_a_canary) {
            (Verdict::Contradicted, Some(claimed)) => {
                Err(Contradicted { confidence: self.confidence, found: self.epsilon_lower_bound, claimed })
            }
            _ => Ok(()),
        }
    }

    /// With how many canaries, all guesses right, the claim would be contradicted at this confidence; `None` where nothing
    /// is claimed, or no number is enough.
    pub fn canaries_to_contradict(&self) -> Option<u64> {
        let epsilon = self.claim.epsilon_of_a_canary?;
        canaries_to_contradict(epsilon, self.claim.delta?, self.confidence)
    }
}

#[cfg(test)]
mod tests {
    use demo::demo_plan;
    use plan::PrivacyMode;

    use super::*;

    #[test]
    fn a_canary_is_held_to_twice_the_sensitivity_where_silos_are_the_unit() {
        for (mode, factor) in [
            (PrivacyMode::DistributedDpSgd, 1.0),
            (PrivacyMode::SiloDpSgd, 1.0),
            (PrivacyMode::DistributedDpFedavg, 2.0),
            (PrivacyMode::CentralDpFedavg, 2.0),
        ] {
            let plan = demo_plan(mode, 5, None, None).unwrap();
            let claim = Claim::of(&plan).unwrap();
            let (sampling_rate, noise, steps) = plan.event().unwrap().parts();
            assert_eq!(sampling_rate, 1.0);
            let event = DpEvent::Gaussian { noise_multiplier: noise / factor };
            let expected = epsilon_of([(event, steps * plan.rounds)], 1e-5).unwrap();
            let (epsilon, of_a_canary) = (claim.epsilon.unwrap(), claim.epsilon_of_a_canary.unwrap());
            assert!((of_a_canary / expected - 1.0).abs() < 1e-9, "{mode:?}: {of_a_canary} {expected}");
            assert_eq!(of_a_canary > epsilon, factor > 1.0, "{mode:?}");
        }
    }
}
