//! What a silo uploads under one plan, in whatever runs it is shown under.
//!
//! A run's name is the coordinator's to invent, and so is the number of a round. What cannot be invented is the plan that an
//! author signed, so a policy's limits for a run hold for everything that is uploaded under a plan's digest.

use accounting::epsilon_or_infinity;

use crate::document::Plan;
use crate::policy::Policy;
use crate::refusal::Refusal;

/// Where a policy names no number: for each so many rounds one more upload than the plan asks for, since an aborted round costs
/// one too.
const ROUNDS_PER_REPEAT: u64 = 4;
/// And at least so many.
const REPEATS_MIN: u64 = 3;

impl Policy {
    /// Whether this silo may upload under `plan` once more, having done so `made` times, in all runs together.
    ///
    /// # Errors
    /// The limit that it would pass: of uploads, of bytes, of epsilon.
    pub fn check_uploads(&self, plan: &Plan, made: u64) -> Result<(), Refusal> {
        let limit = plan.rounds.saturating_add(self.repeats(plan));
        if made >= limit {
            return Err(Refusal::PlanUploads { uploads: made, limit });
        }
        let next = made.saturating_add(1);
        let mebibytes = mebibytes(plan, next);
        if let Some(policy) = self.upload_mib_max.filter(|policy| mebibytes > *policy) {
            return Err(Refusal::PlanBytes { after: mebibytes, policy });
        }
        let Some((event, (epsilon, delta))) = plan.event().zip(plan.budget()) else { return Ok(()) };
        let limit = self.epsilon_per_run_max.map_or(epsilon, |policy| policy.min(epsilon));
        let after = epsilon_or_infinity([(event, next)], delta);
        // Not `after > limit`: what is no number is not admitted.
        match after.partial_cmp(&limit) {
            Some(order) if order.is_le() => Ok(()),
            _ => Err(Refusal::PlanSpent { after, limit }),
        }
    }

    /// [`Policy::check_uploads`], where `own` of those `made` were in the run in hand.
    ///
    /// # Errors
    /// The limit that the run would pass by itself; or, as [`Refusal::Elsewhere`], the one that it would pass with the others'.
    pub fn check_uploads_in_run(&self, plan: &Plan, own: u64, made: u64) -> Result<(), Refusal> {
        self.check_uploads(plan, own)?;
        self.check_uploads(plan, made).map_err(|refusal| Refusal::Elsewhere(Box::new(refusal)))
    }

    /// Whether one model may be uploaded on once more without noise, after `own` such uploads in the run in hand and `made` in all runs.
    ///
    /// # Errors
    /// As [`Policy::check_uploads_in_run`].
    pub fn check_repeats_in_run(&self, own: u32, made: u32) -> Result<(), Refusal> {
        let repeats = self.repeats_without_dp;
        let check = |uploads: u32| match uploads > repeats {
            true => Err(Refusal::Repeats { uploads, repeats }),
            false => Ok(()),
        };
        check(own)?;
        check(made).map_err(|refusal| Refusal::Elsewhere(Box::new(refusal)))
    }

    /// Most uploads under `plan`, in all runs together: the first that [`Policy::check_uploads`] refuses, less one.
    pub fn uploads_max(&self, plan: &Plan) -> u64 {
        let (mut admitted, mut refused) = (0, plan.rounds.saturating_add(self.repeats(plan)));
        while admitted < refused {
            let middle = admitted + (refused - admitted) / 2;
            match self.check_uploads(plan, middle) {
                Ok(()) => admitted = middle + 1,
                Err(_) => refused = middle,
            }
        }
        admitted
    }

    fn repeats(&self, plan: &Plan) -> u64 {
        self.repeats_per_plan.unwrap_or_else(|| (plan.rounds / ROUNDS_PER_REPEAT).max(REPEATS_MIN))
    }
}

/// What so many uploads under a plan take with those of the rounds before it, rounded up.
pub(crate) fn mebibytes(plan: &Plan, uploads: u64) -> u64 {
    let uploads = u128::from(uploads) + u128::from(plan.rounds_before());
    let bytes = uploads * plan.lanes() as u128 * u128::from(Plan::LANE_BYTES);
    u64::try_from(bytes.div_ceil(1 << 20)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::privacy::{Exact, Privacy, Weights};

    fn sample() -> Plan {
        Plan::from_toml(include_str!("../../../../deploy/config/plan.toml")).unwrap()
    }

    /// Exact sums of 2^18 lanes, which are one MiB, less what stands beside them.
    fn exact(rounds: u64) -> Plan {
        let mut plan = sample();
        plan.rounds = rounds;
        plan.model.hidden = vec![(1 << 18) / 6];
        plan.privacy = Privacy::Exact(Exact {
            coordinate_max: 1.0,
            fraction_bits: 16,
            weights: Weights::Uniform,
            evaluate: false,
            loss_max: 1.0,
        });
        plan
    }

    fn policy() -> Policy {
        Policy::for_authors([])
    }

    fn code(policy: &Policy, plan: &Plan, made: u64) -> Result<(), &'static str> {
        policy.check_uploads(plan, made).map_err(|refusal| refusal.code())
    }

    #[test]
    fn aborted_rounds_may_be_tried_again_so_often_as_the_policy_says_or_else_a_quarter_of_the_rounds() {
        for (rounds, repeats, limit) in [(1, None, 4), (40, None, 50), (40, Some(0), 40), (1, Some(0), 1)] {
            let (policy, plan) = (Policy { repeats_per_plan: repeats, ..policy() }, exact(rounds));
            assert_eq!(code(&policy, &plan, limit - 1), Ok(()));
            assert_eq!(code(&policy, &plan, limit), Err("PLAN_UPLOADS"));
            assert_eq!(policy.uploads_max(&plan), limit);
        }
    }

    #[test]
    fn a_limit_that_other_runs_used_up_is_said_as_a_balance_and_logged_as_what_it_is() {
        let plan = exact(40);
        let check = |own, made| policy().check_uploads_in_run(&plan, own, made);
        assert_eq!(check(30, 49), Ok(()));
        assert_eq!(check(50, 50).map_err(|refusal| refusal.code()), Err("PLAN_UPLOADS"));
        let elsewhere = check(30, 50).unwrap_err();
        assert_eq!((elsewhere.code(), elsewhere.rule().name()), ("BALANCE", "PLAN_UPLOADS"));
        assert!(elsewhere.to_string().contains("50 times under this plan"), "{elsewhere}");
    }

    #[test]
    fn bytes_are_counted_over_all_uploads_and_no_repeat_is_granted_beyond_them() {
        let policy = Policy { upload_mib_max: Some(40), ..policy() };
        let plan = exact(40);
        assert_eq!(mebibytes(&plan, 40), 40);
        assert_eq!(code(&policy, &plan, 39), Ok(()));
        assert_eq!(code(&policy, &plan, 40), Err("PLAN_UPLOAD_BYTES"));
        assert_eq!(policy.uploads_max(&plan), 40);
    }

    #[test]
    fn bytes_of_the_rounds_before_count_as_the_plans_own() {
        let policy = Policy { upload_mib_max: Some(100), ..policy() };
        let [run, model] = [b"run", b"old"].map(|text| params::Digest::sha256(text));
        let parent = Some(crate::ParentModel { run, round: 30, model, rounds_before: 40 });
        let plan = Plan { parent, ..exact(30) };
        assert_eq!((mebibytes(&plan, 30), policy.uploads_max(&plan)), (100, 30));
        assert_eq!(code(&policy, &plan, 30), Err("PLAN_UPLOAD_BYTES"));
    }

    #[test]
    fn epsilon_is_composed_over_all_uploads_under_the_plan_by_the_smaller_of_both_limits() {
        // The sample's noise is calibrated to its 30 rounds.
        assert_eq!(policy().uploads_max(&sample()), 30);
        assert_eq!(code(&policy(), &sample(), 29), Ok(()));
        assert_eq!(code(&policy(), &sample(), 30), Err("PLAN_SPENT"));
        let strict = Policy { epsilon_per_run_max: Some(2.0), ..policy() };
        let most = strict.uploads_max(&sample());
        assert!((1..30).contains(&most), "{most}");
        assert_eq!(code(&strict, &sample(), most), Err("PLAN_SPENT"));
        assert_eq!(code(&strict, &sample(), most - 1), Ok(()));
    }
}
