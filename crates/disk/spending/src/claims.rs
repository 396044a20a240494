//! What a run may cost, claimed in the ledger before the run is joined, and given back when it is over.

use ledger::{Account, ClaimLimits, Cost, LedgerError, Limits, Overspent, PeriodLimit, RunClaim};
use params::Digest;
use plan::{AuthoredPlan, Plan, Policy, Refusal};
use protocol::ClaimAnswer;

use crate::silo::SiloSpending;

/// Whether a run of `plan` that is not begun yet would find room in this account, at this moment in milliseconds since the Unix
/// epoch: what a silo of this policy would find when it is offered it. `author` is the key that signed the plan, in hexadecimal.
///
/// # Errors
/// Why not, with the numbers.
pub(crate) fn room_for(
    account: &Account,
    policy: &Policy,
    plan: &Plan,
    author: &str,
    now_ms: u64,
) -> Result<(), Refusal> {
    // No run has this name.
    let run = Digest::of("folkmoot/v1/no-run", &[]);
    let (claim, limits) = claim_for(policy, plan, author, "", run)?;
    account.admits_claim(&claim, &limits, now_ms).map_err(|over| refusal(over, plan, policy))
}

/// What sums without noise already tell of the data where the policy promises something now and does not accept so many: a silo
/// of this policy refuses every plan with a promise.
pub fn unaccepted_exact_releases(account: &Account, policy: &Policy) -> Option<String> {
    let made = account.without_noise().count() as u64;
    let (accepted, promises) =
        (policy.accepts_exact_releases, policy.privacy_modes.iter().any(|mode| mode.promises()));
    if !promises || made <= accepted {
        return None;
    }
    let mut runs: Vec<(&str, u64)> = Vec::new();
    for release in account.without_noise() {
        match runs.iter_mut().find(|(name, _)| *name == release.run_name) {
            Some((_, count)) => *count += 1,
            None => runs.push((&release.run_name, 1)),
        }
    }
    let runs: Vec<String> = runs.iter().map(|(name, count)| format!("{count} in {name:?}")).collect();
    Some(format!("{}; they are {}", Refusal::ExactReleases { made, accepted }, runs.join(", ")))
}

impl SiloSpending {
    /// Claims what a run may cost, unless this daemon has a claim for it already. It is durable when this returns.
    ///
    /// # Privacy
    /// Whether there is room depends on what other runs have spent: where `may_look` is false that is not found out.
    ///
    /// # Errors
    /// [`LedgerError`], where the ledger cannot be read or written; the run may not be joined then.
    pub fn claim(
        &self,
        run: Digest,
        plan: &AuthoredPlan,
        may_look: bool,
    ) -> Result<ClaimAnswer, LedgerError> {
        let now_ms = self.now_ms();
        if self.account()?.claim_of(self.daemon(), &run, now_ms).is_some() {
            return Ok(ClaimAnswer::Held);
        }
        if !may_look {
            return Ok(ClaimAnswer::NotLooked);
        }
        let author = hex::encode(plan.author().as_bytes());
        let (claim, limits) = match claim_for(self.policy(), plan, &author, self.daemon(), run) {
            Ok(of_plan) => of_plan,
            Err(refusal) => return Ok(ClaimAnswer::NoRoom(refusal)),
        };
        match self.ledger().claim(claim, &limits, now_ms) {
            Ok(()) => Ok(ClaimAnswer::Made),
            Err(LedgerError::Overspent(over)) => Ok(ClaimAnswer::NoRoom(refusal(over, plan, self.policy()))),
            Err(why) => Err(why),
        }
    }

    /// Gives back what is left of this daemon's claim for a run; whether there was one.
    ///
    /// # Errors
    /// [`LedgerError`], where the ledger cannot be read or written.
    pub fn return_claim(&self, run: &Digest, reason: &str) -> Result<bool, LedgerError> {
        // Without one, nothing is made where there is no ledger yet.
        if self.account()?.claim_of(self.daemon(), run, self.now_ms()).is_none() {
            return Ok(false);
        }
        self.ledger().return_claim(self.daemon(), run, reason, self.now_ms())
    }

    /// Keeps this daemon's claims from lapsing while it lives. Cheap where none is due.
    ///
    /// # Errors
    /// [`LedgerError`], where the ledger cannot be read or written.
    pub fn renew_claims(&self) -> Result<(), LedgerError> {
        let (account, now_ms) = (self.account()?, self.now_ms());
        let mut own = account.claims(now_ms).into_iter().filter(|open| open.claim.daemon == self.daemon());
        if !own.any(|open| open.is_to_be_renewed(now_ms)) {
            return Ok(());
        }
        self.ledger().renew_claims(self.daemon(), now_ms)
    }
}

/// The claim of a run of `plan`, and what it has to keep.
fn claim_for(
    policy: &Policy,
    plan: &Plan,
    author: &str,
    daemon: &str,
    run: Digest,
) -> Result<(RunClaim, ClaimLimits), Refusal> {
    let cost = policy.run_cost(plan)?;
    let claim = RunClaim {
        daemon: daemon.into(),
        run,
        run_name: plan.name.clone(),
        plan: plan.digest(),
        author: author.into(),
        rounds: plan.rounds,
        uploads: cost.uploads,
        unit: plan.unit(),
        cost: cost.events.map(|(event, count)| Cost { event, count }),
        lease_ms: cost.lease_ms,
    };
    let limits = ClaimLimits {
        limits: limits(policy, plan),
        per_author: policy.claims_per_author_max,
        exact_releases: policy.accepts_exact_releases,
    };
    Ok((claim, limits))
}

/// What one more round of `plan` has to keep.
pub(crate) fn limits(policy: &Policy, plan: &Plan) -> Limits {
    Limits {
        epsilon_max: policy.epsilon_max,
        delta: policy.delta_max,
        period: policy
            .period
            .map(|period| PeriodLimit { days: period.days, epsilon_max: period.epsilon_max }),
        releases_max: Some(policy.uploads_max(plan)),
    }
}

/// The limit in the words of the policy.
pub(crate) fn refusal(overspent: Overspent, plan: &Plan, policy: &Policy) -> Refusal {
    match overspent {
        Overspent::Total(over) => Refusal::BudgetSpent(over),
        Overspent::Period(over) => Refusal::PeriodSpent(over),
        Overspent::Plan { made, .. } => Refusal::Elsewhere(Box::new(Refusal::PlanUploads {
            uploads: made,
            limit: policy.uploads_max(plan),
        })),
        Overspent::Claims { over, claims: 0 } => Refusal::BudgetSpent(over),
        Overspent::Claims { over, claims } => Refusal::Claims { over, claims },
        Overspent::ClaimsPerAuthor(over) => Refusal::ClaimsPerAuthor(over),
        Overspent::PlanClaimed { needed, left } => Refusal::PlanClaimed { needed, left },
        Overspent::ExactReleases { made, accepted } => Refusal::ExactReleases { made, accepted },
    }
}

#[cfg(test)]
mod tests;
