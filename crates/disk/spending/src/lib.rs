//! The ledger of this silo's data: read before a round is opened, debited before anything can leave.
//!
//! The journal tells what this daemon did; the ledger, what all daemons did with the data. Each finds the other lost or
//! rolled back, which ends the daemon until an operator acts: the ledger lacks a debit of the journal, or holds one of an
//! attempt that the journal knows nothing of. The ledger is written first, so one that only it holds, of an attempt that
//! the journal began, was made before a crash: its round is sat out.

#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

use std::collections::BTreeSet;
use std::path::PathBuf;

use ledger::{Cost, Ledger, LedgerError, Limits, Overspent, PeriodLimit, Release, Statement, What};
use params::Digest;
use plan::{Plan, Policy, Refusal};
use protocol::{Attempt, ClientRecord, LedgerView, Timestamp};

/// See the crate.
pub struct Spending {
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
    /// The run.
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

/// Why nothing may be uploaded any more.
#[derive(Debug, thiserror::Error)]
pub enum SpendingError {
    /// The ledger cannot be used, or does not agree with its anchor.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The ledger lacks what the journal has.
    #[error(transparent)]
    RolledBack(RolledBack),
    /// The journal lacks what the ledger has.
    #[error(transparent)]
    LostJournal(LostJournal),
}

/// A debit of the journal that the ledger does not know.
#[derive(Debug, thiserror::Error)]
#[error(
    "this silo's journal holds {count} debits that the ledger `{}` lacks, the first in round {round} of run {run}: the \
     ledger was rolled back, or is of other data; restore the newest copy of it, or name the data set that this state \
     folder is of; where it is lost for good, `folkmoot client ledger accept --config FILE --reason TEXT` copies them \
     from the journal, and says so in the ledger",
    ledger.display()
)]
pub struct RolledBack {
    count: usize,
    round: u64,
    run: String,
    ledger: PathBuf,
}

/// Debits of the ledger, made by this silo, that its journal knows nothing of.
#[derive(Debug, thiserror::Error)]
#[error(
    "the ledger `{}` holds {count} debits of this silo's own of which its journal knows nothing, the first in round {round} \
     of run {run}: the journal in its state_dir was lost or restored from an old copy, or another copy of this silo runs; \
     without it, rosters older than those it has seen and repeated uploads could be accepted; restore the newest copy of \
     the journal; where it is lost for good, configure the federation's newest roster, and \
     `folkmoot client ledger accept --config FILE --reason TEXT` goes on without it, and says so in the ledger; or enrol \
     this silo anew",
    ledger.display()
)]
pub struct LostJournal {
    count: usize,
    round: u64,
    run: String,
    ledger: PathBuf,
}

/// What an operator's word made good.
pub struct Accepted {
    /// Debits that the ledger lacked, copied from the journal.
    pub copied: usize,
    /// Debits that the journal lacks.
    pub forgotten: usize,
    /// The ledger's, with the operator's entry.
    pub head: ledger::LedgerHead,
}

impl Spending {
    /// `daemon` is the silo's own key, under which it debits; `wall_ms`, in milliseconds since 1970, stamps entries and ends
    /// periods. Nothing is read yet.
    pub fn new(
        ledger: Ledger,
        daemon: &identity::IdentityKey,
        policy: &Policy,
        wall_ms: fn() -> u64,
    ) -> Self {
        Self {
            ledger,
            daemon: hex::encode(daemon.public().as_bytes()),
            policy: policy.clone(),
            wall_ms,
            debited: BTreeSet::new(),
        }
    }

    fn delta(&self) -> f64 {
        self.policy.delta_max
    }

    /// What one more round of `plan` has to keep.
    fn limits(&self, plan: &Plan) -> Limits {
        let period = self.policy.period;
        Limits {
            epsilon_max: self.policy.epsilon_max,
            delta: self.policy.delta_max,
            period: period.map(|period| PeriodLimit { days: period.days, epsilon_max: period.epsilon_max }),
            releases_max: Some(self.policy.uploads_max(plan)),
        }
    }

    /// Compares the ledger with the whole journal, and logs what was spent.
    ///
    /// # Errors
    /// [`SpendingError`], whatever is lost or cannot be read.
    pub fn check(&mut self, journal: &[ClientRecord]) -> Result<(), SpendingError> {
        let found = self.ledger.inspect()?;
        let lacking = self.lacking(journal, &found.account);
        if let Some(first) = lacking.first().and_then(|(_, what)| release_of(what)) {
            return Err(self.rolled_back(lacking.len(), first.run, first.round));
        }
        let forgotten = self.forgotten(journal, &found.account);
        if let Some(first) = forgotten.first() {
            let (count, round, run) = (forgotten.len(), first.round, first.run.short());
            let ledger = self.ledger.path().to_owned();
            return Err(SpendingError::LostJournal(LostJournal { count, round, run, ledger }));
        }
        self.debited = self.own(&found.account).map(|(_, made)| (made.run, made.round)).collect();
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

    /// What the journal has debited and the account lacks, as entries.
    fn lacking(&self, journal: &[ClientRecord], account: &ledger::Account) -> Vec<(u64, What)> {
        let known = |made: &Release, exact: bool| {
            account.entries().iter().any(|entry| {
                entry.release().is_some_and(|release| {
                    (&release.daemon, release.run, release.round) == (&made.daemon, made.run, made.round)
                }) && (!exact || matches!(entry.what, What::ExactRelease { .. }))
            })
        };
        let (mut current, mut failed, mut lacking) = (None, None, Vec::new());
        for record in journal {
            match record {
                ClientRecord::Joined { run_id, plan, .. } => current = Some((*run_id, *plan)),
                ClientRecord::Debited { now, at, model, upload, event, .. } => {
                    let Some((run, plan)) = current else { continue };
                    let release = self.of_journal(run, plan, *at, *model, *upload, *event);
                    let exact = event.is_none() || failed == Some((run, *at));
                    if let Some(event) = event.filter(|_| !known(&release, false)) {
                        let (release, cost) = (release.clone(), Cost { event, count: 1 });
                        lacking.push((now.0, What::Debit { release, cost, delta: self.delta() }));
                    }
                    if exact && !known(&release, true) {
                        lacking.push((now.0, What::ExactRelease { release }));
                    }
                }
                ClientRecord::TrainingFailed { at } => {
                    failed = current.map(|(run, _)| (run, *at));
                }
                _ => {}
            }
        }
        lacking
    }

    /// This daemon's entries, with their numbers.
    fn own<'a>(&'a self, account: &'a ledger::Account) -> impl Iterator<Item = (u64, &'a Release)> {
        let releases = account.entries().iter().filter_map(|entry| Some((entry.sequence, entry.release()?)));
        releases.filter(|(_, release)| release.daemon == self.daemon)
    }

    /// What this daemon debited in attempts that the journal knows nothing of, unless an operator has accepted that since.
    /// An attempt is in the journal before its debit is in the ledger.
    fn forgotten<'a>(&'a self, journal: &[ClientRecord], account: &'a ledger::Account) -> Vec<&'a Release> {
        let accepted = account.entries().iter().rev().find(|entry| {
            matches!(&entry.what, What::OperatorAcceptsLoss { journal_of: Some(daemon), .. } if *daemon == self.daemon)
        });
        let accepted = accepted.map_or(0, |entry| entry.sequence);
        let (mut current, mut known) = (None, BTreeSet::new());
        for record in journal {
            match record {
                ClientRecord::Joined { run_id, .. } => current = Some(*run_id),
                ClientRecord::Advertised { at } | ClientRecord::Debited { at, .. } => {
                    known.extend(current.map(|run| (run, at.round, at.attempt)));
                }
                _ => {}
            }
        }
        let forgotten = |(sequence, made): &(u64, &Release)| {
            *sequence > accepted && !known.contains(&(made.run, made.round, made.attempt))
        };
        self.own(account).filter(forgotten).map(|(_, made)| made).collect()
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
        let held: BTreeSet<_> = self.own(&account).map(|(_, made)| (made.run, made.round)).collect();
        if let Some((run, round)) = self.debited.difference(&held).next() {
            return Err(self.rolled_back(self.debited.difference(&held).count(), *run, *round));
        }
        let refused = plan.and_then(|plan| {
            let cost = cost_of(plan)?;
            account.admits(plan.mode().unit(), &cost, &self.limits(plan), now_ms).err()
        });
        let before = run.map(|run| account.before(&self.daemon, &run)).unwrap_or_default();
        // What is no key in hexadecimal is no silo's.
        let key = |daemon: &str| hex::decode(daemon).ok()?.try_into().ok();
        Ok(LedgerView {
            wall: Some(Timestamp(now_ms)),
            round: run.and_then(|run| account.highest_round(&self.daemon, &run)),
            rounds_of_others: run.map(|run| account.rounds_of_others(&self.daemon, &run)).unwrap_or_default(),
            before: before.into_iter().filter_map(key).collect(),
            epsilon_spent: account.total(self.delta()).epsilon(),
            uploads_under_plan: plan.map_or(0, |plan| account.releases_under(&plan.digest())),
            refusal: refused.and_then(refusal),
        })
    }

    /// All that the ledger holds.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub fn account(&self) -> Result<ledger::Account, LedgerError> {
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
            unit: mode.unit(),
            relation: mode.relation(),
            noise_by: mode.noise_by().into(),
        };
        let (cost, limits, now_ms) = (cost_of(plan), self.limits(plan), (self.wall_ms)());
        let head = match failed {
            true => self.ledger.reserve_failed(release, cost, &limits, now_ms)?,
            false => self.ledger.reserve(release, cost, &limits, now_ms)?,
        };
        self.debited.insert((run, at.round));
        tracing::debug!(round = at.round, entry = head.sequence, "debited in the ledger");
        Ok(())
    }

    /// Adds what the journal has and the ledger lacks, and the operator's reason; says in it whether the journal too
    /// lacks what the ledger has.
    ///
    /// # Errors
    /// [`LedgerError`], where it cannot be read or written.
    pub fn accept_loss(&self, journal: &[ClientRecord], reason: &str) -> Result<Accepted, LedgerError> {
        let account = self.ledger.entries_as_they_are()?;
        let missing = self.lacking(journal, &account);
        let (copied, forgotten) = (missing.len(), self.forgotten(journal, &account).len());
        let journal_of = (forgotten > 0).then(|| self.daemon.clone());
        let head = self.ledger.accept_loss(reason, missing, journal_of, (self.wall_ms)())?;
        Ok(Accepted { copied, forgotten, head })
    }

    /// A journal tells the event, and not under which words it was promised: where two modes have one event, they are named
    /// both, and who added the noise is unknown.
    fn of_journal(
        &self,
        run: Digest,
        plan: Digest,
        at: Attempt,
        model: Digest,
        upload: Digest,
        event: Option<accounting::Event>,
    ) -> Release {
        use plan::PrivacyMode;
        let mode = match event {
            None => PrivacyMode::Fedavg,
            // No plan samples batches of fixed size; a record is what such an event would hide.
            Some(accounting::Event::PoissonGaussian { .. } | accounting::Event::FixedSizeGaussian { .. }) => {
                PrivacyMode::DistributedDpSgd
            }
            Some(accounting::Event::PoissonGaussianSteps { .. }) => PrivacyMode::SiloDpSgd,
            Some(accounting::Event::Gaussian { .. }) => PrivacyMode::DistributedDpFedavg,
        };
        let (name, noise_by) = match mode {
            PrivacyMode::DistributedDpFedavg => {
                (format!("{mode} or {}", PrivacyMode::CentralDpFedavg), "unknown: its journal does not say")
            }
            _ => (mode.name().into(), mode.noise_by()),
        };
        Release {
            daemon: self.daemon.clone(),
            run,
            run_name: String::new(),
            plan,
            round: at.round,
            attempt: at.attempt,
            model,
            upload,
            data_version: None,
            mode: name,
            unit: mode.unit(),
            relation: mode.relation(),
            noise_by: noise_by.into(),
        }
    }
}

/// What one round of a plan costs; none in the mode without noise.
fn cost_of(plan: &Plan) -> Option<Cost> {
    plan.event().map(|event| Cost { event, count: 1 })
}

fn release_of(what: &What) -> Option<&Release> {
    match what {
        What::Debit { release, .. } | What::ExactRelease { release } => Some(release),
        What::OperatorAcceptsLoss { .. } => None,
    }
}

fn refusal(overspent: Overspent) -> Option<Refusal> {
    match overspent {
        Overspent::Total(over) => Some(Refusal::BudgetSpent(over)),
        Overspent::Period(over) => Some(Refusal::PeriodSpent(over)),
        // The core judges the number of uploads, which it is told.
        Overspent::Plan { .. } => None,
    }
}

#[cfg(test)]
mod tests;
