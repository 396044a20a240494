//! What a run of a plan may cost a silo: what the silo claims of its balance before it takes part.

use accounting::{Budget, DpEvent, epsilon_or_infinity, steps_allowed};

use crate::document::Plan;
use crate::policy::Policy;
use crate::refusal::Refusal;

/// A claim is a multiple of this part of the silo's `epsilon_max`.
const STEPS: f64 = 8.0;
/// A daemon that runs renews its claims each hour; however long an author's rounds may take, one that is gone holds nothing after this.
const LEASE_MS_MAX: u64 = 30 * 24 * 3_600_000;

/// The most that a run of a plan may use of a silo's data.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RunCost {
    /// Uploads: the plan's rounds, and as many more as may be tried again.
    pub uploads: u64,
    /// What they cost, and how often, rounded up; `None` in the mode without noise.
    pub events: Option<(DpEvent, u64)>,
    /// How long they may take, with what a run may wait for silos, at most 30 days. A claim of which nothing was heard for so long counts no more.
    ///
    /// # Units
    /// Milliseconds.
    pub lease_ms: u64,
}

impl Policy {
    /// What a run of `plan` may cost here, rounded up to a multiple of an eighth of `epsilon_max`, so that others who are refused
    /// over it learn little of the plan. It follows from the plan and the policy, and not from what was spent.
    ///
    /// # Errors
    /// Where this policy does not allow as many uploads under the plan as it has rounds.
    pub fn run_cost(&self, plan: &Plan) -> Result<RunCost, Refusal> {
        let uploads = self.uploads_max(plan);
        if uploads < plan.rounds {
            self.check_uploads(plan, uploads)?;
        }
        let events = plan.event().map(|event| (event, self.rounded_up(event, uploads)));
        let rounds_ms = uploads.checked_mul(plan.timing.round_deadline_ms);
        let lease_ms = rounds_ms
            .and_then(|ms| ms.checked_add(plan.timing.patience_ms()))
            .map_or(LEASE_MS_MAX, |lease| lease.min(LEASE_MS_MAX));
        Ok(RunCost { uploads, events, lease_ms })
    }

    /// How often an event may happen in the same number of steps of epsilon as so many times.
    fn rounded_up(&self, event: DpEvent, times: u64) -> u64 {
        let most = self.claims_per_author_max.map_or(self.epsilon_max, |most| most.min(self.epsilon_max));
        let step = self.epsilon_max / STEPS;
        let epsilon = epsilon_or_infinity([(event, times)], self.delta_max);
        let rounded = ((epsilon / step).ceil() * step).min(most);
        // A validated policy is a budget; what none admits is not rounded, and refused when it is composed.
        let budget = Budget::new(rounded, self.delta_max);
        let allowed = budget.and_then(|budget| steps_allowed(&event, &budget));
        allowed.map_or(times, |allowed| allowed.max(times))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Plan {
        Plan::from_toml(include_str!("../../../../deploy/config/plan.toml")).unwrap()
    }

    fn policy(epsilon_max: f64) -> Policy {
        Policy { epsilon_max, delta_max: 1e-5, ..Policy::for_authors([]) }
    }

    fn epsilon(cost: &RunCost) -> f64 {
        epsilon_or_infinity(cost.events, 1e-5)
    }

    #[test]
    fn a_claim_covers_all_rounds_and_is_the_same_for_plans_of_a_little_more_or_less() {
        let policy = policy(5.0);
        let of = |rounds| policy.run_cost(&Plan { rounds, ..sample() }).unwrap();
        let mut claims = Vec::new();
        for rounds in 1..=30 {
            let cost = of(rounds);
            let (event, count) = cost.events.unwrap();
            assert!(cost.uploads >= rounds && count >= cost.uploads);
            assert!(epsilon_or_infinity([(event, count + 1)], 1e-5) > epsilon(&cost));
            claims.push(count);
        }
        claims.dedup();
        assert!(claims.len() <= 8, "{claims:?}");
    }

    #[test]
    fn rounding_asks_for_no_more_than_the_policy_has_in_all_or_for_an_author() {
        for most in [5.0, 4.9] {
            let capped = Policy { claims_per_author_max: Some(most), ..policy(5.0) };
            let cost = capped.run_cost(&sample()).unwrap();
            assert!(epsilon(&cost) <= most && cost.uploads == 30, "{cost:?}");
        }
    }

    #[test]
    fn a_plan_whose_rounds_the_policy_does_not_allow_is_refused_by_the_policy_alone() {
        let strict = Policy { epsilon_per_run_max: Some(2.0), ..policy(5.0) };
        assert_eq!(strict.run_cost(&sample()).map_err(|refusal| refusal.code()), Err("PLAN_SPENT"));
    }
}
