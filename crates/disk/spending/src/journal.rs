//! What the journal says of debits, held against what the ledger says of them.

use std::collections::BTreeSet;

use accounting::{DpEvent, Unit};
use ledger::{Account, Cost, Release, What};
use params::Digest;
use plan::PrivacyMode;
use protocol::{Attempt, ClientRecord};

/// One daemon's part of an account.
pub(crate) struct Own<'a> {
    /// The public key that it debits under, hexadecimal.
    pub(crate) daemon: &'a str,
    /// Of all daemons that share the ledger.
    pub(crate) account: &'a Account,
}

impl<'a> Own<'a> {
    /// This daemon's entries, with their numbers.
    pub(crate) fn releases(&self) -> impl Iterator<Item = (u64, &'a Release)> {
        let (account, daemon) = (self.account, self.daemon);
        let releases = account.entries().iter().filter_map(|entry| Some((entry.sequence, entry.release()?)));
        releases.filter(move |(_, release)| release.daemon == daemon)
    }

    /// What the journal has debited and the account lacks, as entries, each with its time in milliseconds since 1970.
    pub(crate) fn lacking(&self, journal: &[ClientRecord], delta: f64) -> Vec<(u64, What)> {
        let known = |made: &Release, exact: bool| {
            self.account.entries().iter().any(|entry| {
                entry.release().is_some_and(|release| {
                    (&release.daemon, release.run, release.round) == (&made.daemon, made.run, made.round)
                }) && (!exact || matches!(entry.what, What::ExactRelease { .. }))
            })
        };
        let (mut current, mut failed, mut lacking) = (None, None, Vec::new());
        let mut about_persons = BTreeSet::new();
        for record in journal {
            match record {
                ClientRecord::Joined { run_id, plan, .. } => current = Some((*run_id, *plan)),
                ClientRecord::AboutPersons => about_persons.extend(current.map(|(run, _)| run)),
                ClientRecord::Debited { now, at, model, upload, event, .. } => {
                    let Some((run, plan)) = current else { continue };
                    let hides = hides(*event, about_persons.contains(&run));
                    let release = self.of_journal(run, plan, *at, *model, *upload, hides);
                    let exact = event.is_none() || failed == Some((run, *at));
                    if let Some(event) = event.filter(|_| !known(&release, false)) {
                        let (release, cost) = (release.clone(), Cost { event, count: 1 });
                        lacking.push((now.0, What::Debit { release, cost, delta }));
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

    /// What this daemon debited in attempts that the journal knows nothing of, unless an operator has accepted that since.
    /// An attempt is in the journal before its debit is in the ledger.
    pub(crate) fn forgotten(&self, journal: &[ClientRecord]) -> Vec<&'a Release> {
        let accepted = self.account.entries().iter().rev().find(|entry| {
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
        self.releases().filter(forgotten).map(|(_, made)| made).collect()
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
        (mode, unit): (PrivacyMode, Option<Unit>),
    ) -> Release {
        let (name, noise_by) = match mode {
            PrivacyMode::DistributedDpFedavg => {
                (format!("{mode} or {}", PrivacyMode::CentralDpFedavg), "unknown: its journal does not say")
            }
            _ => (mode.name().into(), mode.noise_by()),
        };
        Release {
            daemon: self.daemon.to_owned(),
            run,
            run_name: String::new(),
            plan,
            round: at.round,
            attempt: at.attempt,
            model,
            upload,
            data_version: None,
            mode: name,
            unit,
            relation: unit.map(Unit::relation),
            noise_by: noise_by.into(),
        }
    }
}

/// The mode that a debit's event is of, or one of those, and what it hides.
fn hides(event: Option<DpEvent>, about_persons: bool) -> (PrivacyMode, Option<Unit>) {
    let one = if about_persons { Unit::Person } else { Unit::Record };
    match event {
        None => (PrivacyMode::Fedavg, None),
        // No plan samples batches of fixed size; a record is what such an event would hide.
        Some(DpEvent::PoissonGaussian { .. } | DpEvent::FixedSizeGaussian { .. }) => {
            (PrivacyMode::DistributedDpSgd, Some(one))
        }
        Some(DpEvent::PoissonGaussianSteps { .. }) => (PrivacyMode::SiloDpSgd, Some(one)),
        Some(DpEvent::Gaussian { .. }) => (PrivacyMode::DistributedDpFedavg, Some(Unit::Silo)),
    }
}

/// The debit that an entry is of.
pub(crate) fn release_of(what: &What) -> Option<&Release> {
    match what {
        What::Debit { release, .. } | What::ExactRelease { release } => Some(release),
        What::OperatorAcceptsLoss { .. } | What::Claim { .. } | What::ClaimReturned { .. } => None,
    }
}
