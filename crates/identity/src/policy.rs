//! What one silo allows, whoever asks.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::plan::{Plan, PrivacyMode};
use crate::problems::Problems;

/// A silo's own rules. They are read from the silo's disk, never from the network, and they fail closed: a plan
/// that violates one is refused before any data is opened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Fewest silos in any cohort that this silo joins.
    pub cohort_min: usize,
    /// Fewest honest silos guaranteed in any sum that holds this silo's update.
    pub honest_min: usize,
    /// Fewest corrupt silos that a plan must reckon with, `c`. The threshold and the noise rest on the plan's number,
    /// so this is what keeps a coordinator from naming too small a one.
    pub corrupt_min: usize,
    /// Most epsilon that this silo's data may spend, over all runs together.
    pub epsilon_max: f64,
    /// Largest delta at which an epsilon counts.
    pub delta_max: f64,
    /// The modes allowed. `fedavg` adds no noise: list it only where exact sums may be seen.
    pub privacy_modes: BTreeSet<PrivacyMode>,
    /// In `fedavg`: uploads on one and the same model, beyond the first. Two sums on one model can be
    /// differenced; one repeat lets an aborted round be tried again.
    #[serde(default = "default_repeats")]
    pub repeats_without_dp: u32,
    /// Without an anchor outside this machine, a journal restored from a snapshot cannot be told from the newest
    /// one, and budget spent since then would be forgotten. Must be set to `true` to run like that.
    #[serde(default)]
    pub accepts_undetected_rollback: bool,
}

fn default_repeats() -> u32 {
    2
}

/// Why a silo does not take part: a code for machines, a sentence for people.
#[derive(Debug, Clone, PartialEq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// The plan's mode is not in `privacy_modes`.
    #[error("the plan's privacy mode {mode} is not among this silo's privacy_modes")]
    PrivacyMode {
        /// The plan's.
        mode: PrivacyMode,
    },
    /// The plan's smallest cohort is below the silo's.
    #[error("the plan admits cohorts of {plan} silos, this silo's cohort_min is {policy}")]
    CohortMin {
        /// The plan's.
        plan: usize,
        /// The silo's.
        policy: usize,
    },
    /// The plan guarantees fewer honest silos than the silo demands.
    #[error("the plan guarantees {plan} honest silos in a sum, this silo's honest_min is {policy}")]
    HonestMin {
        /// The plan's.
        plan: usize,
        /// The silo's.
        policy: usize,
    },
    /// The plan reckons with fewer corrupt silos than the silo does.
    #[error("the plan tolerates {plan} corrupt silos, this silo's corrupt_min is {policy}")]
    Corrupt {
        /// The plan's.
        plan: usize,
        /// The silo's.
        policy: usize,
    },
    /// The plan may spend more than the silo allows.
    #[error("the plan may spend epsilon {plan}, this silo's epsilon_max is {policy}")]
    Epsilon {
        /// The plan's.
        plan: f64,
        /// The silo's.
        policy: f64,
    },
    /// The plan counts epsilon at a larger delta than the silo allows.
    #[error("the plan's delta is {plan}, this silo's delta_max is {policy}")]
    Delta {
        /// The plan's.
        plan: f64,
        /// The silo's.
        policy: f64,
    },
    /// This data's budget has no room for another round.
    #[error("one more round would bring this silo's data to epsilon {after:.4}, its limit is {limit}")]
    BudgetSpent {
        /// Composed over all runs, after one more upload.
        after: f64,
        /// The smaller of the policy's and the plan's.
        limit: f64,
    },
    /// Another exact sum on the same model.
    #[error(
        "this silo has uploaded {uploads} times on this model without noise; repeats_without_dp is {repeats}"
    )]
    Repeats {
        /// Uploads so far.
        uploads: u32,
        /// The policy's.
        repeats: u32,
    },
}

impl Refusal {
    /// The code that status and journals carry.
    pub fn code(&self) -> &'static str {
        match self {
            Self::PrivacyMode { .. } => "POLICY_PRIVACY_MODE",
            Self::CohortMin { .. } => "POLICY_COHORT_MIN",
            Self::HonestMin { .. } => "POLICY_HONEST_MIN",
            Self::Corrupt { .. } => "POLICY_CORRUPT",
            Self::Epsilon { .. } => "POLICY_EPSILON",
            Self::Delta { .. } => "POLICY_DELTA",
            Self::BudgetSpent { .. } => "BUDGET_SPENT",
            Self::Repeats { .. } => "REPEATS_WITHOUT_DP",
        }
    }
}

/// Why a text is no policy.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// The text does not parse, or has an unknown key.
    #[error("the policy does not parse: {0}")]
    Syntax(String),
    /// It parses and cannot be meant.
    #[error("the policy is not usable:\n{0}")]
    Meaning(Problems),
}

impl Policy {
    /// Reads and validates a policy.
    ///
    /// # Errors
    /// [`PolicyError`], with every problem at once.
    pub fn from_toml(text: &str) -> Result<Self, PolicyError> {
        let policy: Self = toml::from_str(text).map_err(|e| PolicyError::Syntax(e.to_string()))?;
        policy.validate().map_err(|problems| PolicyError::Meaning(problems.with_lines_of(text)))?;
        Ok(policy)
    }

    /// Everything that is wrong with this policy, if anything.
    ///
    /// # Errors
    /// All problems at once.
    pub fn validate(&self) -> Result<(), Problems> {
        let mut problems = Problems::default();
        problems.require(self.cohort_min >= 3, "cohort_min", || {
            "must be at least 3: with two silos each can subtract its own update from the sum".into()
        });
        problems.require(self.honest_min >= 2, "honest_min", || {
            "must be at least 2: a sum with one honest update in it is that update".into()
        });
        problems.require(self.corrupt_min >= 1, "corrupt_min", || {
            "must be at least 1: any member can subtract its own update from a sum".into()
        });
        problems.require(self.epsilon_max.is_finite() && self.epsilon_max > 0.0, "epsilon_max", || {
            "must be a positive number".into()
        });
        problems.require(self.delta_max > 0.0 && self.delta_max < 1.0, "delta_max", || {
            "must lie between 0 and 1; usual is at most one over the number of records".into()
        });
        problems.require(!self.privacy_modes.is_empty(), "privacy_modes", || {
            "allows nothing: list at least one of distributed_dp_sgd, distributed_dp_fedavg, fedavg".into()
        });
        let exact = self.privacy_modes.contains(&PrivacyMode::Fedavg);
        problems.require(!exact || self.privacy_modes.len() == 1, "privacy_modes", || {
            "lists fedavg beside a mode that promises privacy: exact sums of the same data are in no epsilon, so the \
             promise would not hold; allow one or the other"
                .into()
        });
        problems.require(self.accepts_undetected_rollback, "accepts_undetected_rollback", || {
            "no anchor outside this machine can be configured in this version, so a restored snapshot would \
             forget spent budget unseen; set it to true to accept that"
                .into()
        });
        problems.into_result()
    }

    /// Whether this silo may take part in a run of `plan` at all.
    ///
    /// # Errors
    /// The first rule that the plan violates.
    pub fn check(&self, plan: &Plan) -> Result<(), Refusal> {
        let mode = plan.mode();
        if !self.privacy_modes.contains(&mode) {
            return Err(Refusal::PrivacyMode { mode });
        }
        if plan.cohort.minimum < self.cohort_min {
            return Err(Refusal::CohortMin { plan: plan.cohort.minimum, policy: self.cohort_min });
        }
        if plan.cohort.honest_min < self.honest_min {
            return Err(Refusal::HonestMin { plan: plan.cohort.honest_min, policy: self.honest_min });
        }
        if plan.cohort.corrupt < self.corrupt_min {
            return Err(Refusal::Corrupt { plan: plan.cohort.corrupt, policy: self.corrupt_min });
        }
        if let Some((epsilon, delta)) = plan.budget() {
            if epsilon > self.epsilon_max {
                return Err(Refusal::Epsilon { plan: epsilon, policy: self.epsilon_max });
            }
            if delta > self.delta_max {
                return Err(Refusal::Delta { plan: delta, policy: self.delta_max });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> Policy {
        Policy {
            cohort_min: 3,
            honest_min: 2,
            corrupt_min: 1,
            epsilon_max: 5.0,
            delta_max: 1e-5,
            privacy_modes: [PrivacyMode::DistributedDpSgd].into(),
            repeats_without_dp: 2,
            accepts_undetected_rollback: true,
        }
    }

    fn plan() -> Plan {
        Plan::from_toml(include_str!("../../../deploy/config/plan.toml")).unwrap()
    }

    #[test]
    fn each_rule_refuses_a_plan_that_violates_it_by_its_code() {
        assert_eq!(policy().check(&plan()), Ok(()));
        type Edit = fn(&mut Policy);
        let cases: [(&str, Edit); 6] = [
            ("POLICY_PRIVACY_MODE", |p| p.privacy_modes = [PrivacyMode::Fedavg].into()),
            ("POLICY_COHORT_MIN", |p| p.cohort_min = 4),
            ("POLICY_HONEST_MIN", |p| p.honest_min = 3),
            ("POLICY_CORRUPT", |p| p.corrupt_min = 2),
            ("POLICY_EPSILON", |p| p.epsilon_max = 4.8),
            ("POLICY_DELTA", |p| p.delta_max = 1e-6),
        ];
        for (code, stricter) in cases {
            let mut policy = policy();
            stricter(&mut policy);
            assert_eq!(policy.check(&plan()).map_err(|refusal| refusal.code()), Err(code));
        }
    }

    #[test]
    fn exact_sums_and_a_promise_on_the_same_data_do_not_go_together() {
        let mut policy = policy();
        assert_eq!(policy.validate(), Ok(()));
        policy.privacy_modes.insert(PrivacyMode::Fedavg);
        let why = policy.validate().unwrap_err().to_string();
        assert!(why.contains("exact sums of the same data are in no epsilon"), "{why}");
    }

    #[test]
    fn a_policy_that_allows_too_little_company_or_hides_a_risk_is_refused() {
        let text = "cohort_min = 2\nhonest_min = 1\ncorrupt_min = 0\nepsilon_max = 0.0\ndelta_max = 1.0\nprivacy_modes = []\n";
        let why = Policy::from_toml(text).unwrap_err().to_string();
        for field in [
            "cohort_min",
            "honest_min",
            "epsilon_max",
            "delta_max",
            "privacy_modes",
            "accepts_undetected_rollback",
        ] {
            assert!(why.contains(field), "no {field} in:\n{why}");
        }
        assert!(why.contains("line 2: honest_min"), "{why}");
    }
}
