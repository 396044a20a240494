//! What must hold over all runs; each has an oracle of its own.

use std::collections::{BTreeMap, BTreeSet};

use accounting::{DpEvent, RdpCurve};
use federation::RunNumber;
use params::Digest;
use protocol::{Attempt, ClientRecord, Contradiction, OfRun, Record, ToClient, ToCoordinator, UploadHeader};
use secagg::ClientId;

use crate::holds::Holds;
use crate::invariant::{Invariant, Violation};
use crate::oracle::Oracle;
use crate::run_files::OpenedSum;

#[derive(Default)]
pub(crate) struct Oracles {
    /// Silos whose program lies.
    liars: BTreeSet<ClientId>,
    deceived: bool,
    violation: Option<Violation>,
    /// How many corrupt members each run reckons with.
    corrupt: BTreeMap<RunNumber, usize>,
    /// Runs that have begun, by their numbers.
    names: BTreeMap<RunNumber, Digest>,
    runs: BTreeMap<Digest, Oracle>,
    /// Whom an operator removed, from all runs.
    removed: BTreeSet<ClientId>,
    silos: BTreeMap<ClientId, Debits>,
    /// The runs of the rounds that were committed, in their order.
    commits: Vec<RunNumber>,
}

/// What a silo's journal says of its budget.
#[derive(Default)]
struct Debits {
    /// The run that its newest records belong to.
    current: Option<Digest>,
    /// Each upload once, however often its record is read.
    made: BTreeSet<(Digest, Attempt)>,
    /// Equal costs together.
    costs: Vec<(DpEvent, u64)>,
}

/// Epsilon at `delta` of these uploads.
pub(crate) fn epsilon(uploads: &[(DpEvent, u64)], delta: f64) -> f64 {
    let mut curve = RdpCurve::zero();
    let composed = uploads.iter().try_for_each(|(event, count)| curve.compose(event, *count));
    composed.and_then(|()| curve.epsilon(delta)).map_or(f64::INFINITY, |guarantee| guarantee.epsilon)
}

impl Oracles {
    pub(crate) fn lies(&mut self, liar: ClientId) {
        self.liars.insert(liar);
    }

    pub(crate) fn coordinator_lies(&mut self) {
        self.deceived = true;
    }

    /// A run may begin with this number.
    pub(crate) fn admits(&mut self, number: RunNumber, corrupt: usize) {
        self.corrupt.insert(number, corrupt);
    }

    pub(crate) fn violation(&self) -> Option<&Violation> {
        self.violation.as_ref().or_else(|| self.runs.values().find_map(Oracle::violation))
    }

    /// Rounds tried so far.
    pub(crate) fn rounds_opened(&self) -> u64 {
        self.runs.values().map(Oracle::rounds_opened).sum()
    }

    /// Attempts aborted so far.
    pub(crate) fn attempts_aborted(&self) -> u64 {
        self.runs.values().map(Oracle::attempts_aborted).sum()
    }

    /// Rounds committed so far.
    pub(crate) fn committed(&self) -> usize {
        self.commits.len()
    }

    /// The runs of those rounds, in their order.
    pub(crate) fn commits(&self) -> &[RunNumber] {
        &self.commits
    }

    /// What operators did to a run.
    pub(crate) fn holds(&self, number: RunNumber) -> Option<&Holds> {
        Some(&self.runs.get(self.names.get(&number)?)?.holds)
    }

    pub(crate) fn broken(&mut self, invariant: Invariant, what: String) {
        self.violation.get_or_insert(Violation { invariant, what });
    }

    fn check(&mut self, holds: bool, invariant: Invariant, what: impl FnOnce() -> String) {
        if !holds {
            self.broken(invariant, what());
        }
    }

    /// An operator removes this member.
    pub(crate) fn removes(&mut self, client: ClientId) {
        self.removed.insert(client);
        self.runs.values_mut().for_each(|run| run.removes(client));
    }

    /// A silo's record is durable.
    pub(crate) fn silo_wrote(&mut self, id: ClientId, record: &ClientRecord) {
        let debits = self.silos.entry(id).or_default();
        if let ClientRecord::Joined { run_id, .. } = record {
            debits.current = Some(*run_id);
        }
        let Some(run) = debits.current else { return };
        if let ClientRecord::Debited { at, event, .. } = record
            && debits.made.insert((run, *at))
            && let Some(event) = event
        {
            match debits.costs.iter_mut().find(|(held, _)| held == event) {
                Some((_, count)) => *count += 1,
                None => debits.costs.push((*event, 1)),
            }
        }
        if let Some(run) = self.runs.get_mut(&run) {
            run.silo_wrote(id, record);
        }
    }

    /// A silo holds a record of the run that its newest records are of for a lie.
    pub(crate) fn silo_contradicts(&mut self, id: ClientId, contradiction: &Contradiction) {
        let run = self.silos.get(&id).and_then(|silo| silo.current);
        if let Some(run) = run.and_then(|run| self.runs.get_mut(&run)) {
            run.silo_contradicts(id, contradiction);
        }
    }

    /// How much of a silo's budget it says is gone, over all runs, and what it may spend at this delta.
    pub(crate) fn silo_spent(&mut self, id: ClientId, uploads: u64, reported: f64, limit: f64, delta: f64) {
        let silo = self.silos.entry(id).or_default();
        let (debits, spent) = (silo.made.len() as u64, epsilon(&silo.costs, delta));
        self.check(reported >= spent, Invariant::Budget, || {
            format!("silo {id} says that it spent epsilon {reported}, its debits come to {spent}")
        });
        self.check(uploads >= debits, Invariant::Budget, || {
            format!("silo {id} counts {uploads} debits of {debits} that it made: a refund")
        });
        self.check(spent <= limit * (1.0 + 1e-12), Invariant::Budget, || {
            format!("silo {id} spent epsilon {spent} of {limit}")
        });
    }

    /// A silo says this.
    pub(crate) fn silo_says(&mut self, id: ClientId, said: &OfRun<ToCoordinator>) {
        if let Some(run) = said.run.and_then(|run| self.runs.get_mut(&run)) {
            run.silo_says(id, &said.message);
        }
    }

    /// A silo sends its masked vector.
    pub(crate) fn silo_uploads(&mut self, header: &OfRun<UploadHeader>) {
        if let Some(run) = header.run.and_then(|run| self.runs.get_mut(&run)) {
            run.silo_uploads(&header.message);
        }
    }

    /// The coordinator's record is durable.
    pub(crate) fn center_wrote(&mut self, number: RunNumber, record: &Record) {
        if let Record::RunStarted { run_id, .. } = record {
            let Some(corrupt) = self.corrupt.get(&number).copied() else {
                return self.broken(Invariant::OneChain, format!("{number} begins without a plan"));
            };
            let mut oracle = Oracle::new(corrupt, self.liars.clone(), self.deceived);
            self.removed.iter().for_each(|client| oracle.removes(*client));
            let before = self.names.insert(number, *run_id);
            self.check(before.is_none(), Invariant::OneChain, || format!("{number} begins twice"));
            self.runs.insert(*run_id, oracle);
        }
        if let Record::Committed { .. } = record {
            self.commits.push(number);
        }
        if let Some(run) = self.names.get(&number).and_then(|run| self.runs.get_mut(run)) {
            run.center_wrote(record);
        }
    }

    /// The coordinator says this of a run.
    pub(crate) fn center_says(&mut self, to: ClientId, run: Digest, message: &ToClient) {
        match self.runs.get_mut(&run) {
            Some(run) => run.center_says(to, message),
            None => self.broken(
                Invariant::PersistBeforeSend,
                format!("silo {to} hears of the run {}, which is not written down", run.short()),
            ),
        }
    }

    /// A sum was opened.
    pub(crate) fn sum_opened(&mut self, number: RunNumber, opened: &OpenedSum) {
        if let Some(run) = self.names.get(&number).and_then(|run| self.runs.get_mut(run)) {
            run.sum_opened(opened);
        }
    }

    /// An append whose fsync failed was refused, or not.
    pub(crate) fn failed_append(&mut self, refused: bool) {
        self.check(refused, Invariant::Durable, || "a failed fsync was taken for a success".into());
    }

    /// A process found fewer or other records than were acknowledged to it.
    pub(crate) fn recovered(&mut self, who: &str, acknowledged: usize, same: bool) {
        self.check(same, Invariant::Durable, || {
            format!("{who} does not find the {acknowledged} records again that were acknowledged")
        });
    }
}
