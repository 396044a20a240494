//! What runs have claimed of a silo's balance.

use std::collections::BTreeMap;

use accounting::{DpEvent, OverBudget, epsilon_or_infinity};
use params::Digest;
use plan::{AuthoredPlan, Policy, Refusal, RunCost};
use protocol::{ClaimAnswer, ClientRecord};

/// The claims on one silo's data, durable as soon as they are made.
#[derive(Default)]
pub(crate) struct Claims(BTreeMap<Digest, RunCost>);

impl Claims {
    /// Decides as the ledger does: what is left after all debits and all claims is there for a new one.
    pub(crate) fn answer(
        &mut self,
        run: Digest,
        plan: &AuthoredPlan,
        may_look: bool,
        policy: &Policy,
        journal: &[ClientRecord],
    ) -> ClaimAnswer {
        if self.0.contains_key(&run) {
            return ClaimAnswer::Held;
        }
        if !may_look {
            return ClaimAnswer::NotLooked;
        }
        let cost = match policy.run_cost(plan) {
            Ok(cost) => cost,
            Err(refusal) => return ClaimAnswer::NoRoom(refusal),
        };
        let debits = debits(journal);
        let all = debits.iter().map(|(_, event)| (*event, 1));
        let after = epsilon_or_infinity(all.chain(self.left(&debits)).chain(cost.events), policy.delta_max);
        if cost.events.is_some() && after > policy.epsilon_max {
            let over = OverBudget { after, limit: policy.epsilon_max };
            return ClaimAnswer::NoRoom(Refusal::BudgetSpent(over));
        }
        self.0.insert(run, cost);
        ClaimAnswer::Made
    }

    pub(crate) fn give_back(&mut self, run: &Digest) {
        self.0.remove(run);
    }

    /// What claims cover beside what was debited.
    fn left(&self, debits: &[(Digest, DpEvent)]) -> Vec<(DpEvent, u64)> {
        let of = |(run, cost): (&Digest, &RunCost)| {
            let (event, claimed) = cost.events?;
            let made = debits.iter().filter(|(of, _)| of == run).count() as u64;
            Some((event, claimed - made.min(claimed)))
        };
        self.0.iter().filter_map(of).filter(|(_, count)| *count > 0).collect()
    }
}

/// What each upload cost, and in which run.
fn debits(journal: &[ClientRecord]) -> Vec<(Digest, DpEvent)> {
    let mut current = None;
    let of = |record: &ClientRecord| match record {
        ClientRecord::Joined { run_id, .. } => {
            current = Some(*run_id);
            None
        }
        ClientRecord::Debited { event, .. } => current.zip(*event),
        _ => None,
    };
    journal.iter().filter_map(of).collect()
}
