//! How often a silo's balance may be looked at for the plans of an author, and what was answered before.
//!
//! Whether a plan fits depends on what the data has spent in other runs and federations. Each answer that depends on it tells whoever
//! asks one bit of that, and a plan's digest costs nothing: one who signs plan after plan, each a little dearer than the one before,
//! would read the balance. So an offer is answered once, and a silo looks for a few plans of an author only.

use std::collections::{BTreeMap, BTreeSet};

use params::Digest;
use serde::{Deserialize, Serialize};

use crate::authored::AuthoredPlan;
use crate::policy::Policy;
use crate::refusal::Refusal;

/// For how many plans of one author a silo looks at its balance, in any stretch of so many days.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OffersPerAuthor {
    pub plans: u32,
    pub days: u32,
}

impl Default for OffersPerAuthor {
    fn default() -> Self {
        Self { plans: 4, days: 30 }
    }
}

impl OffersPerAuthor {
    pub(crate) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// A plan that a silo is offered as a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlanOffer {
    pub run: Digest,
    pub plan: Digest,
    /// Whose key signed the plan.
    pub author: [u8; 32],
    /// [`Policy::digest`] of the policy in force.
    pub policy: Digest,
}

/// An answer for which the balance was looked at: a fact for the silo's journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answered {
    /// When, by the wall clock.
    ///
    /// # Units
    /// Milliseconds since the Unix epoch.
    pub time_ms: u64,
    pub run: Digest,
    pub plan: Digest,
    /// Whose key signed the plan.
    pub author: [u8; 32],
    /// [`Policy::digest`] of the policy in force then.
    pub policy: Digest,
    /// Whether the balance had room for it.
    pub admitted: bool,
}

impl PlanOffer {
    /// This plan, as this run, under this policy.
    pub fn of(run: Digest, plan: &AuthoredPlan, policy: &Policy) -> Self {
        Self { run, plan: plan.digest(), author: plan.author().to_bytes(), policy: policy.digest() }
    }

    /// That the balance was looked at for it.
    pub fn answered(&self, time_ms: u64, admitted: bool) -> Answered {
        let Self { run, plan, author, policy } = *self;
        Answered { time_ms, run, plan, author, policy, admitted }
    }
}

/// All answers that a silo's journal holds.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Offers {
    /// Plan and policy of each offer that the balance had no room for.
    refused: BTreeSet<(Digest, Digest)>,
    /// When the balance was looked at, for each author; for a run that was admitted, the first time.
    looks: BTreeMap<[u8; 32], Vec<u64>>,
    /// Runs that the balance had room for.
    admitted: BTreeSet<Digest>,
}

impl Offers {
    /// Whether the balance may be looked at for this offer.
    ///
    /// # Privacy
    /// What is refused here depends on earlier answers and on the time alone. So all that whoever asks learns of a balance are the
    /// answers of the looks: one bit each, and at most `limit.plans` in any `limit.days` for an author, whatever is offered. A run that
    /// was admitted has its claim, unless this silo's own operator has taken it back, by a policy that refused the run for a while: it is
    /// looked at again without being counted again, and how often that is nobody else decides.
    ///
    /// # Errors
    /// The refusal that is said again, or said without a look; its code is that of a balance without room.
    pub fn may_look(&self, offer: &PlanOffer, limit: OffersPerAuthor, now_ms: u64) -> Result<(), Refusal> {
        if self.refused.contains(&(offer.plan, offer.policy)) {
            return Err(Refusal::AnsweredBefore);
        }
        if self.admitted.contains(&offer.run) {
            return Ok(());
        }
        let looks = || self.looks.get(&offer.author).into_iter().flatten().copied();
        // A clock that was set back does not bring a look back.
        let now_ms = looks().fold(now_ms, u64::max);
        let length_ms = u128::from(limit.days) * 24 * 3_600_000;
        let recent = looks().filter(|at| u128::from(*at) + length_ms > u128::from(now_ms)).count();
        match recent < limit.plans as usize {
            true => Ok(()),
            false => Err(Refusal::OffersPerAuthor { plans: limit.plans, days: limit.days }),
        }
    }

    /// Takes an answer into account, when it is given and when the journal is read again.
    pub fn note(&mut self, answered: &Answered) {
        if !self.admitted.contains(&answered.run) {
            self.looks.entry(answered.author).or_default().push(answered.time_ms);
        }
        if answered.admitted {
            self.admitted.insert(answered.run);
        } else {
            self.refused.insert((answered.plan, answered.policy));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_MS: u64 = 24 * 3_600_000;
    const LIMIT: OffersPerAuthor = OffersPerAuthor { plans: 2, days: 30 };

    fn offer(plan: &str) -> PlanOffer {
        let digest = |text: &str| Digest::sha256(text.as_bytes());
        let run = digest(&format!("a run of {plan}"));
        PlanOffer { run, plan: digest(plan), author: [1; 32], policy: digest("policy") }
    }

    fn code(asked: Result<(), Refusal>) -> Result<(), &'static str> {
        asked.map_err(|refusal| refusal.code())
    }

    #[test]
    fn what_was_refused_is_refused_again_without_a_look_as_long_as_the_policy_is_the_same() {
        let mut offers = Offers::default();
        assert_eq!(offers.may_look(&offer("a"), LIMIT, 0), Ok(()));
        offers.note(&offer("a").answered(0, false));
        let other_run = PlanOffer { run: Digest::sha256(b"another"), ..offer("a") };
        for again in [offer("a"), other_run] {
            assert_eq!(offers.may_look(&again, LIMIT, 400 * DAY_MS), Err(Refusal::AnsweredBefore));
        }
        let changed = PlanOffer { policy: Digest::sha256(b"another policy"), ..offer("a") };
        assert_eq!(offers.may_look(&changed, LIMIT, 0), Ok(()));
    }

    #[test]
    fn looks_count_over_plans_policies_and_answers_and_come_back_when_the_days_are_over() {
        let mut offers = Offers::default();
        offers.note(&offer("a").answered(DAY_MS, false));
        let changed = PlanOffer { policy: Digest::sha256(b"another policy"), ..offer("a") };
        offers.note(&changed.answered(2 * DAY_MS, true));
        assert_eq!(code(offers.may_look(&offer("b"), LIMIT, 3 * DAY_MS)), Err("BALANCE"));
        let other_author = PlanOffer { author: [2; 32], ..offer("b") };
        assert_eq!(offers.may_look(&other_author, LIMIT, 3 * DAY_MS), Ok(()));
        assert_eq!(code(offers.may_look(&offer("b"), LIMIT, 31 * DAY_MS - 1)), Err("BALANCE"));
        assert_eq!(offers.may_look(&offer("b"), LIMIT, 31 * DAY_MS), Ok(()));
        assert_eq!(code(offers.may_look(&offer("b"), LIMIT, 0)), Err("BALANCE"), "a clock that was set back");
    }

    #[test]
    fn a_run_that_its_silo_gave_up_for_a_policy_is_looked_at_again_and_counts_once() {
        let mut offers = Offers::default();
        for day in 0..20 {
            assert_eq!(offers.may_look(&offer("a"), LIMIT, day * DAY_MS), Ok(()), "day {day}");
            offers.note(&offer("a").answered(day * DAY_MS, true));
        }
        assert_eq!(
            offers.may_look(&offer("b"), LIMIT, 20 * DAY_MS),
            Ok(()),
            "there is a look left for another plan"
        );
        // Its plan as another run is another offer, and where there is no room any more it stays so.
        let other_run = PlanOffer { run: Digest::sha256(b"another run"), ..offer("a") };
        offers.note(&offer("b").answered(20 * DAY_MS, true));
        assert_eq!(code(offers.may_look(&other_run, LIMIT, 21 * DAY_MS)), Err("BALANCE"));
        offers.note(&offer("a").answered(21 * DAY_MS, false));
        assert_eq!(offers.may_look(&offer("a"), LIMIT, 22 * DAY_MS), Err(Refusal::AnsweredBefore));
    }

    #[test]
    fn what_is_refused_without_a_look_takes_none() {
        let mut offers = Offers::default();
        for plan in ["a", "b"] {
            offers.note(&offer(plan).answered(0, true));
        }
        let before = offers.clone();
        for plan in 0..1000 {
            let refused = offers.may_look(&offer(&plan.to_string()), LIMIT, DAY_MS);
            assert_eq!(refused, Err(Refusal::OffersPerAuthor { plans: 2, days: 30 }));
        }
        assert_eq!(offers, before);
        let said = Refusal::OffersPerAuthor { plans: 4, days: 30 }.to_string();
        assert!(
            said.contains("`offers_per_author = { plans = 4, days = 30 }`"),
            "what to raise, as it is written: {said}"
        );
    }
}
