//! What a silo's journal says: what it has seen, said and spent. No secrets.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use accounting::{DpEvent, epsilon_or_infinity};
use checkpoint::{ChainError, ChainVerifier, Manifest, SignedManifest};
use ed25519_dalek::VerifyingKey;
use identity::SignedRoster;
use params::Digest;
use plan::{Offers, Period};
use secagg::{ClientId, UnmaskShares};

use crate::Timestamp;
use crate::invariant::invariant;
use crate::record::ClientRecord;
use messages::Attempt;

use super::sets::Uploaded;
use super::steps::Pending;
use super::witnesses::Owed;

/// All runs of this silo's journal.
pub(super) struct Facts {
    own: ClientId,
    /// A state of the coordinator's audit log is remembered beside the journal.
    pub(super) remembers: bool,
    /// The index of the newest entry of that log that there is a receipt for.
    newest_receipt: Option<u64>,
    runs: BTreeMap<Digest, RunFacts>,
    /// The run that records without a run's name belong to: the last joined.
    current: Option<Digest>,
    pub(super) roster_epoch: u64,
    /// The last one adopted, if any was.
    pub(super) roster: Option<SignedRoster>,
    /// Uploads of all runs.
    pub(super) uploads: u64,
    /// Debits of all runs, equal events together.
    debits: Vec<(DpEvent, u64)>,
    /// Answers for which the balance was looked at.
    pub(super) offers: Offers,
    /// When each was debited, in the journal's order.
    times: Vec<(Timestamp, DpEvent)>,
    /// Uploads without noise, by the model they started from and by run.
    exact_uploads: BTreeMap<Digest, BTreeMap<Option<Digest>, u32>>,
}

/// One run.
pub(super) struct RunFacts {
    pub(super) plan: Digest,
    chain: ChainVerifier,
    /// The newest record.
    pub(super) head: Option<Arc<Manifest>>,
    /// Rounds' records whose steps were not done again here yet, in the chain's order.
    pub(super) pending: VecDeque<Pending>,
    /// Uploads in rounds that no record is known of yet.
    uploaded: BTreeMap<u64, Uploaded>,
    /// Uploads that the coordinator's audit log has not shown yet.
    pub(super) owed: Owed,
    /// Digests of the chain's records.
    seen_records: BTreeSet<Digest>,
    /// The newest attempt that keys were advertised in.
    seen: Option<Attempt>,
    /// The newest round that was uploaded in.
    debited: Option<(Attempt, Digest)>,
    /// How many rounds were uploaded in.
    pub(super) debits: u64,
    /// How many of the chain's records are results of rounds.
    pub(super) results: u64,
    answer: Option<(Attempt, Digest, UnmaskShares)>,
    /// What is declared of the data's version, once that is fixed.
    pub(super) declared: Option<Option<Digest>>,
    /// The coordinator has said so.
    pub(super) is_over: bool,
    /// Before version 0, as the plan says.
    pub(super) rounds_before: u64,
    /// Whether that its promise is about persons is written down.
    pub(super) is_about_persons: bool,
}

/// A record that contradicts those before it.
#[derive(Debug, thiserror::Error)]
pub(super) enum FactError {
    #[error("it belongs to no run")]
    NoRun,
    #[error("it is not newer than those before it")]
    NotNew,
    #[error(transparent)]
    Chain(#[from] ChainError),
    #[error("its run is joined under another plan")]
    OtherPlan,
    #[error("it is of another run")]
    OtherRun,
    #[error("it is of another step than the one that is due")]
    OtherStep,
}

impl Facts {
    /// An empty journal of this silo's.
    pub(super) fn of(own: ClientId) -> Self {
        Self {
            own,
            remembers: false,
            newest_receipt: None,
            runs: BTreeMap::new(),
            current: None,
            roster_epoch: 0,
            roster: None,
            uploads: 0,
            debits: Vec::new(),
            offers: Offers::default(),
            times: Vec::new(),
            exact_uploads: BTreeMap::new(),
        }
    }

    pub(super) fn run(&self, id: &Digest) -> Option<&RunFacts> {
        self.runs.get(id)
    }

    /// The run of a session or of a round.
    ///
    /// # Panics
    /// P1: it was never joined.
    pub(super) fn joined_run(&self, id: &Digest) -> &RunFacts {
        match self.runs.get(id) {
            Some(run) => run,
            None => invariant!("P1", "a session's run is joined before it is set, and no run is forgotten"),
        }
    }

    /// The run that the newest records belong to.
    pub(super) fn current_run(&self) -> Option<Digest> {
        self.current
    }

    /// Whether the log has still to show this upload.
    pub(super) fn owes(&self, upload: &Digest) -> bool {
        self.runs.values().any(|run| run.owed.holds(upload))
    }

    /// Receipts that are owed are of later entries than this. The newest one that was seen says nothing of those before it.
    pub(super) fn receipts_after(&self) -> Option<u64> {
        let owed = self.runs.values().flat_map(|run| run.owed.after());
        owed.fold(self.newest_receipt, Option::min)
    }

    /// Uploads on a model without noise, in all runs.
    pub(super) fn uploads_on(&self, model: &Digest) -> u32 {
        self.exact_uploads.get(model).into_iter().flat_map(BTreeMap::values).sum()
    }

    /// The same in one run.
    pub(super) fn uploads_on_in(&self, model: &Digest, run: &Digest) -> u32 {
        self.exact_uploads.get(model).into_iter().filter_map(|runs| runs.get(&Some(*run))).sum()
    }

    /// Uploads under a plan, in whatever runs the coordinator has shown it under.
    pub(super) fn uploads_under(&self, plan: &Digest) -> u64 {
        self.runs.values().filter(|run| run.plan == *plan).map(|run| run.debits).sum()
    }

    /// Epsilon at `delta` of everything debited, with one more upload of `next` where given.
    pub(super) fn epsilon(&self, delta: f64, next: Option<&DpEvent>) -> f64 {
        let next = next.map(|event| (*event, 1));
        epsilon_or_infinity(self.debits.iter().copied().chain(next), delta)
    }

    /// The one way in which the journalled facts change, live and at recovery: one method a record.
    pub(super) fn apply(&mut self, record: &ClientRecord, key: &VerifyingKey) -> Result<(), FactError> {
        match record {
            ClientRecord::Joined { run_id, plan, roster_epoch } => {
                self.joined(*run_id, *plan, *roster_epoch, key)?;
            }
            ClientRecord::ChainHead(signed) => self.chained(signed)?,
            ClientRecord::Advertised { at } => self.current()?.advertised(*at)?,
            ClientRecord::RosterAdopted { epoch, roster } => {
                self.roster_epoch = self.roster_epoch.max(*epoch);
                self.roster = Some(roster.clone());
            }
            ClientRecord::UploadReceipted { upload, index } => self.receipted(upload, *index),
            ClientRecord::WitnessBegun => self.remembers = true,
            ClientRecord::WitnessForgotten { .. } => self.witness_forgotten(),
            ClientRecord::Debited { now, at, model, r2, upload, event } => {
                let after = self.newest_receipt;
                self.current()?.debited(*now, *at, *r2, *upload, after)?;
                self.debit(*now, *model, *event);
            }
            ClientRecord::SetsFixed { at, cohort, shared } => {
                self.current()?.uploaded.entry(at.round).or_default().sets(cohort, shared);
            }
            ClientRecord::SignedIncluded { at, request } => self.current()?.signed(*at, *request),
            ClientRecord::StepVerified { record } => self.current()?.step_verified(record)?,
            ClientRecord::Unmasked { at, request, shares } => {
                self.current()?.unmasked(*at, *request, shares)?;
            }
            ClientRecord::DataCommitted { commitment } => self.current()?.declare(*commitment)?,
            ClientRecord::DataNotDeclared { word } => self.current()?.declare(Some(*word))?,
            ClientRecord::OfferAnswered(answered) => self.offers.note(answered),
            ClientRecord::RunOver => self.current()?.is_over = true,
            ClientRecord::RoundsBefore { rounds } => self.current()?.rounds_before = *rounds,
            ClientRecord::AboutPersons => self.current()?.is_about_persons = true,
            // Its debit says the rest.
            ClientRecord::TrainingFailed { .. } => {}
        }
        Ok(())
    }

    fn joined(
        &mut self,
        run_id: Digest,
        plan: Digest,
        roster_epoch: u64,
        key: &VerifyingKey,
    ) -> Result<(), FactError> {
        self.roster_epoch = self.roster_epoch.max(roster_epoch);
        self.current = Some(run_id);
        let run = self.runs.entry(run_id).or_insert_with(|| RunFacts::new(plan, *key));
        if run.plan == plan { Ok(()) } else { Err(FactError::OtherPlan) }
    }

    fn chained(&mut self, signed: &SignedManifest) -> Result<(), FactError> {
        let (own, id) = (self.own, self.current.ok_or(FactError::NoRun)?);
        let run = self.current()?;
        let manifest = run.check_next(signed, &id)?;
        run.chain.push(signed)?;
        run.seen_records.insert(signed.digest());
        run.results += u64::from(manifest.round > 0 && manifest.action.is_none());
        run.owed.follow(own, &manifest);
        run.follow(signed.digest(), Arc::new(manifest));
        Ok(())
    }

    fn receipted(&mut self, upload: &Digest, index: u64) {
        self.newest_receipt = self.newest_receipt.max(Some(index));
        // It may come when the run that it is of is over.
        for run in self.runs.values_mut() {
            run.owed.receipted(upload);
        }
    }

    fn witness_forgotten(&mut self) {
        self.remembers = false;
        // The log that is seen next may be another one: what this one owed, it never shows.
        self.newest_receipt = None;
        for run in self.runs.values_mut() {
            run.owed = Owed::default();
        }
    }

    /// What an upload of the current run's costs, over all runs.
    fn debit(&mut self, now: Timestamp, model: Digest, event: Option<DpEvent>) {
        self.uploads += 1;
        let Some(event) = event else {
            *self.exact_uploads.entry(model).or_default().entry(self.current).or_default() += 1;
            return;
        };
        self.times.push((now, event));
        add(&mut self.debits, event);
    }

    fn current(&mut self) -> Result<&mut RunFacts, FactError> {
        let id = self.current.ok_or(FactError::NoRun)?;
        self.runs.get_mut(&id).ok_or(FactError::NoRun)
    }

    /// Epsilon at `delta` of what was debited within the period that ends now, with one more upload of `next`.
    ///
    /// A clock that was set back does not bring a budget back: the newest debit's time counts as now at least.
    pub(super) fn epsilon_since(&self, period: Period, now: Timestamp, delta: f64, next: &DpEvent) -> f64 {
        let now = self.times.iter().map(|(at, _)| *at).max().map_or(now, |newest| newest.max(now));
        let length_ms = u64::from(period.days) * 24 * 3_600_000;
        let recent = self.times.iter().filter(|(at, _)| at.plus_ms(length_ms) > now);
        let mut spent: Vec<(DpEvent, u64)> = vec![(*next, 1)];
        for (_, event) in recent {
            add(&mut spent, *event);
        }
        epsilon_or_infinity(spent, delta)
    }
}

/// Equal events together: composing a thousand of one costs what composing one does.
fn add(spent: &mut Vec<(DpEvent, u64)>, event: DpEvent) {
    match spent.iter_mut().find(|(held, _)| *held == event) {
        Some((_, count)) => *count += 1,
        None => spent.push((event, 1)),
    }
}

impl RunFacts {
    fn new(plan: Digest, key: VerifyingKey) -> Self {
        Self {
            plan,
            chain: ChainVerifier::new(Some(key)),
            head: None,
            pending: VecDeque::new(),
            uploaded: BTreeMap::new(),
            owed: Owed::default(),
            seen_records: BTreeSet::new(),
            seen: None,
            debited: None,
            debits: 0,
            results: 0,
            answer: None,
            declared: None,
            is_over: false,
            rounds_before: 0,
            is_about_persons: false,
        }
    }

    fn advertised(&mut self, at: Attempt) -> Result<(), FactError> {
        if !self.is_new(at) {
            return Err(FactError::NotNew);
        }
        self.seen = Some(at);
        Ok(())
    }

    fn debited(
        &mut self,
        now: Timestamp,
        at: Attempt,
        r2: Digest,
        upload: Digest,
        newest_receipt: Option<u64>,
    ) -> Result<(), FactError> {
        if self.debited.is_some_and(|(debited, _)| debited.round >= at.round) {
            return Err(FactError::NotNew);
        }
        self.debited = Some((at, r2));
        let uploaded = self.uploaded.entry(at.round).or_default();
        uploaded.debited(at, r2);
        // The first release did not write down which uploads were receipted.
        if uploaded.has_sets() {
            self.owed.debited(upload, at, now, newest_receipt);
        }
        self.debits += 1;
        Ok(())
    }

    fn signed(&mut self, at: Attempt, request: Digest) {
        self.uploaded.entry(at.round).or_default().signed(request);
        self.owed.included(at);
    }

    fn step_verified(&mut self, record: &Digest) -> Result<(), FactError> {
        let due = self.pending.pop_front();
        due.filter(|due| due.record == *record).map(drop).ok_or(FactError::OtherStep)
    }

    fn unmasked(&mut self, at: Attempt, request: Digest, shares: &UnmaskShares) -> Result<(), FactError> {
        if self.answer.as_ref().is_some_and(|(answered, _, _)| answered.round >= at.round) {
            return Err(FactError::NotNew);
        }
        self.answer = Some((at, request, shares.clone()));
        Ok(())
    }

    fn declare(&mut self, word: Option<Digest>) -> Result<(), FactError> {
        match self.declared.replace(word) {
            None => Ok(()),
            Some(_) => Err(FactError::NotNew),
        }
    }

    pub(super) fn head_round(&self) -> Option<u64> {
        self.head.as_ref().map(|head| head.round)
    }

    /// Whether the chain has a record of this round or of a later one: no result of the round can follow any more.
    pub(super) fn is_past(&self, round: u64) -> bool {
        self.head_round().is_some_and(|head| round <= head)
    }

    /// Whether a record of the run's chain has put this model out of use.
    pub(super) fn is_quarantined(&self, model: &Digest) -> bool {
        self.chain.is_quarantined(model)
    }

    fn follow(&mut self, record: Digest, manifest: Arc<Manifest>) {
        // What an operator did publishes no new model, and version 0 is the plan's.
        if let (Some(before), None) = (&self.head, &manifest.action) {
            let (before, manifest) = (Arc::clone(before), Arc::clone(&manifest));
            self.pending.push_back(Pending { record, manifest, before });
        }
        // A later record of these rounds cannot follow.
        self.uploaded.retain(|round, _| *round > manifest.round);
        self.head = Some(manifest);
    }

    /// What this silo knows of a round that it uploaded in.
    pub(super) fn uploaded(&self, round: u64) -> Option<&Uploaded> {
        self.uploaded.get(&round)
    }

    /// The newest round that keys were advertised in.
    pub(super) fn newest_round(&self) -> Option<u64> {
        self.seen.map(|seen| seen.round)
    }

    /// Whether this record is in the chain seen so far.
    pub(super) fn holds(&self, signed: &SignedManifest) -> bool {
        self.seen_records.contains(&signed.digest())
    }

    /// Whether it is the coordinator's own, of a later round, and does not name this chain's head as its parent:
    /// records between may not have arrived.
    pub(super) fn misses_some_before(&self, signed: &SignedManifest) -> bool {
        matches!(
            self.chain.check(signed),
            Err(ChainError::Parent { round, .. }) if self.head_round().is_some_and(|head| round > head)
        )
    }

    /// The record's content, if it follows from the chain seen so far and is of this run and plan.
    pub(super) fn check_next(&self, signed: &SignedManifest, run: &Digest) -> Result<Manifest, FactError> {
        let manifest = self.chain.check(signed)?;
        if manifest.run_id != *run {
            return Err(FactError::OtherRun);
        }
        if manifest.plan_digest != self.plan {
            return Err(FactError::OtherPlan);
        }
        Ok(manifest)
    }

    /// Whether this silo may take part in the attempt: newer than all it advertised in, in a round that it has
    /// not uploaded in.
    pub(super) fn is_new(&self, at: Attempt) -> bool {
        self.seen.is_none_or(|seen| at > seen)
            && self.debited.is_none_or(|(debited, _)| at.round > debited.round)
    }

    /// The stored unmask answer of this attempt, and the request that it answered.
    pub(super) fn answer(&self, at: Attempt) -> Option<(&Digest, &UnmaskShares)> {
        self.answer.as_ref().filter(|(answered, _, _)| *answered == at).map(|(_, r, s)| (r, s))
    }

    /// R2 of the upload in this attempt.
    pub(super) fn transcript(&self, at: Attempt) -> Option<Digest> {
        self.debited.filter(|(debited, _)| *debited == at).map(|(_, r2)| r2)
    }
}
