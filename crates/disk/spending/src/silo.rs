//! The debits of one daemon: judged by its policy, made before anything leaves, and shown to its core.

use std::collections::BTreeSet;

use identity::IdentityKey;
use ledger::{Account, Cost, Ledger, LedgerError, LedgerHead, Limits, Next, Release, Statement};
use params::Digest;
use plan::{Plan, Policy, Refusal};
use protocol::{Attempt, ClientRecord, LedgerView, Timestamp};

use crate::claims::{limits, refusal};
use crate::error::{LostJournal, RolledBack, SpendingError};
use crate::journal::{Own, release_of};

/// What one silo's data has spent, before the silo's journal was compared with it: nothing can be debited yet.
pub struct UncheckedSpending(SiloSpending);

/// What one silo's data has spent, as the silo's own daemon sees it and adds to it.
pub struct SiloSpending {
    ledger: Ledger,
    /// The public key of this silo's identity, hexadecimal.
    daemon: String,
    policy: Policy,
    /// Debits are stamped and periods judged by it. The driver's own clock stands still while the machine sleeps.
    wall_ms: fn() -> u64,
    /// Run and round of all that this daemon has debited.
    debited: BTreeSet<(Digest, u64)>,
}

/// What is about to be uploaded.
pub struct Upload<'a> {
    pub run: Digest,
    /// What it was trained under: it says what the upload costs.
    pub plan: &'a Plan,
    /// Of which attempt its masks are.
    pub at: Attempt,
    /// The digest of the model that was trained on.
    pub model: Digest,
    /// The digest of the masked vector.
    pub upload: Digest,
    /// The version of the table that was trained on; none where nothing of the data is in it.
    pub data_version: Option<Digest>,
    /// Whether it holds nothing of the data, since training failed.
    pub failed: bool,
}

/// What an operator's word made good.
pub struct AcceptedLoss {
    /// Debits that the ledger lacked, copied from the journal.
    pub copied: usize,
    /// Debits that the journal lacks.
    pub forgotten: usize,
    /// The ledger's, with the operator's entry.
    pub head: LedgerHead,
}

impl UncheckedSpending {
    /// `daemon` is the silo's own key, under which it debits; `wall_ms`, in milliseconds since 1970, stamps entries and ends
    /// periods. Nothing is read yet.
    pub fn new(ledger: Ledger, daemon: &IdentityKey, policy: &Policy, wall_ms: fn() -> u64) -> Self {
        Self(SiloSpending {
            ledger,
            daemon: hex::encode(daemon.public().as_bytes()),
            policy: policy.clone(),
            wall_ms,
            debited: BTreeSet::new(),
        })
    }

    /// Compares the ledger with the whole journal, and logs what was spent.
    ///
    /// # Errors
    /// [`SpendingError`], whatever is lost or cannot be read.
    pub fn check(self, journal: &[ClientRecord]) -> Result<SiloSpending, SpendingError> {
        let Self(mut spending) = self;
        spending.check(journal)?;
        Ok(spending)
    }

    /// Adds what the journal has and the ledger lacks, and the operator's reason; says in it whether the journal too
    /// lacks what the ledger has.
    ///
    /// # Errors
    /// [`LedgerError`], where it cannot be read or written.
    pub fn accept_loss(&self, journal: &[ClientRecord], reason: &str) -> Result<AcceptedLoss, LedgerError> {
        self.0.accept_loss(journal, reason)
    }
}

impl SiloSpending {
    fn own<'a>(&'a self, account: &'a Account) -> Own<'a> {
        Own { daemon: &self.daemon, account }
    }

    fn delta(&self) -> f64 {
        self.policy.delta_max
    }

    /// From here on the limits are those of this policy; what is claimed and debited stays.
    pub fn take_policy(&mut self, policy: Policy) {
        self.policy = policy;
    }

    pub(crate) fn daemon(&self) -> &str {
        &self.daemon
    }

    pub(crate) fn policy(&self) -> &Policy {
        &self.policy
    }

    pub(crate) fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    pub(crate) fn now_ms(&self) -> u64 {
        (self.wall_ms)()
    }

    fn check(&mut self, journal: &[ClientRecord]) -> Result<(), SpendingError> {
        let found = self.ledger.inspect()?;
        let own = self.own(&found.account);
        let lacking = own.lacking(journal, self.delta());
        if let Some(first) = lacking.first().and_then(|(_, what)| release_of(what)) {
            return Err(self.rolled_back(lacking.len(), first.run, first.round));
        }
        let forgotten = own.forgotten(journal);
        if let Some(first) = forgotten.first() {
            let (count, round, run) = (forgotten.len(), first.round, first.run.short());
            let ledger = self.ledger.path().to_owned();
            return Err(SpendingError::LostJournal(LostJournal { count, round, run, ledger }));
        }
        self.debited = own.releases().map(|(_, made)| (made.run, made.round)).collect();
        let total = found.account.total(self.delta());
        tracing::info!(
            ledger = %self.ledger.path().display(),
            entries = found.head.sequence,
            epsilon_spent = total.epsilon(),
            exact_releases = total.exact_releases,
            "what this data has spent, over all runs"
        );
        Ok(())
    }

    fn rolled_back(&self, count: usize, run: Digest, round: u64) -> SpendingError {
        let ledger = self.ledger.path().to_owned();
        SpendingError::RolledBack(RolledBack { count, round, run: run.short(), ledger })
    }

    /// What the core has to know of the ledger before a round of `plan` is opened.
    ///
    /// # Errors
    /// [`SpendingError::Ledger`], or [`SpendingError::RolledBack`] where a debit of this process is gone.
    pub fn view(&self, run: Option<Digest>, plan: Option<&Plan>) -> Result<LedgerView, SpendingError> {
        let now_ms = (self.wall_ms)();
        let account = self.ledger.inspect()?.account;
        let held: BTreeSet<_> =
            self.own(&account).releases().map(|(_, made)| (made.run, made.round)).collect();
        if let Some((run, round)) = self.debited.difference(&held).next() {
            return Err(self.rolled_back(self.debited.difference(&held).count(), *run, *round));
        }
        let refused = plan.and_then(|plan| self.refuses_next(&account, run, plan, now_ms));
        let of_others = run.iter().flat_map(|run| account.rounds_of_others(&self.daemon, run));
        let before = run.iter().flat_map(|run| account.before(&self.daemon, run));
        // What is no key in hexadecimal is no silo's.
        let key = |daemon: &str| hex::decode(daemon).ok()?.try_into().ok();
        Ok(LedgerView {
            run,
            wall: Some(Timestamp(now_ms)),
            round: run.and_then(|run| account.highest_round(&self.daemon, &run)),
            rounds_of_others: of_others.collect(),
            before: before.filter_map(key).collect(),
            epsilon_spent: account.total(self.delta()).epsilon(),
            uploads_under_plan: plan.map_or(0, |plan| account.releases_under(&plan.digest())),
            refusal: refused,
        })
    }

    /// The limit that one more round of `plan` in this run would pass. The core judges the number of uploads, which it is given.
    fn refuses_next(
        &self,
        account: &Account,
        run: Option<Digest>,
        plan: &Plan,
        now_ms: u64,
    ) -> Option<Refusal> {
        let (digest, cost, unit) = (plan.digest(), cost_of(plan), plan.unit());
        let limits = Limits { releases_max: None, ..limits(&self.policy, plan) };
        let next = Next { daemon: &self.daemon, run, plan: &digest, unit, cost: cost.as_ref() };
        let over = account.admits_next(next, &limits, now_ms).err()?;
        Some(refusal(over, plan, &self.policy))
    }

    /// All that the ledger holds.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub fn account(&self) -> Result<Account, LedgerError> {
        Ok(self.ledger.inspect()?.account)
    }

    /// What may be declared of a version of the data in a run: a salted commitment.
    ///
    /// # Errors
    /// [`LedgerError`], where the salt cannot be read or made.
    pub fn commitment(&self, run: &Digest, version: &Digest) -> Result<Digest, LedgerError> {
        self.ledger.commitment(&self.daemon, run, version)
    }

    /// Writes down what is about to be declared.
    ///
    /// # Errors
    /// [`LedgerError`], where it cannot be written.
    pub fn declare(&self, run: &Digest, statement: Statement) -> Result<(), LedgerError> {
        self.ledger.declare(&self.daemon, run, statement)
    }

    /// Debits an upload; durable when this returns, and never taken back.
    ///
    /// # Errors
    /// [`LedgerError`]: the limits do not allow it, the round is another daemon's, or the ledger cannot be used. Nothing may
    /// leave then.
    pub fn reserve(&mut self, upload: Upload<'_>) -> Result<(), LedgerError> {
        let Upload { run, plan, at, model, upload, data_version, failed } = upload;
        let mode = plan.mode();
        let release = Release {
            daemon: self.daemon.clone(),
            run,
            run_name: plan.name.clone(),
            plan: plan.digest(),
            round: at.round,
            attempt: at.attempt,
            model,
            upload,
            data_version,
            mode: mode.name().into(),
            unit: plan.unit(),
            relation: plan.privacy.relation(),
            noise_by: mode.noise_by().into(),
        };
        let (cost, limits, now_ms) = (cost_of(plan), limits(&self.policy, plan), self.now_ms());
        let head = match failed {
            true => self.ledger.reserve_failed(release, cost, &limits, now_ms)?,
            false => self.ledger.reserve(release, cost, &limits, now_ms)?,
        };
        self.debited.insert((run, at.round));
        tracing::debug!(round = at.round, entry = head.sequence, "debited in the ledger");
        Ok(())
    }

    fn accept_loss(&self, journal: &[ClientRecord], reason: &str) -> Result<AcceptedLoss, LedgerError> {
        let account = self.ledger.entries_as_they_are()?;
        let own = self.own(&account);
        let missing = own.lacking(journal, self.delta());
        let (copied, forgotten) = (missing.len(), own.forgotten(journal).len());
        let journal_of = (forgotten > 0).then(|| self.daemon.clone());
        let head = self.ledger.accept_loss(reason, missing, journal_of, (self.wall_ms)())?;
        Ok(AcceptedLoss { copied, forgotten, head })
    }
}

/// What one round of a plan costs; none in the mode without noise.
fn cost_of(plan: &Plan) -> Option<Cost> {
    plan.event().map(|event| Cost { event, count: 1 })
}

#[cfg(test)]
mod tests;
