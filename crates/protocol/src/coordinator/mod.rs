//! The coordinator's side of a run.

mod commit;
mod opening;
mod phase;
mod report;
mod state;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use checkpoint::SignedManifest;
use ed25519_dalek::SigningKey;
use identity::{Plan, Roster};
use params::Digest;
use rand_core::CryptoRng;
use secagg::{ClientId, Members, SharedCohort, UnmaskShares};

use crate::Timestamp;
use crate::message::{
    Attempt, Decline, DropReason, Rejection, RoundOutcome, RunEnd, ToClient, ToCoordinator, UploadHeader,
};
use crate::record::Record;
use crate::spend::Price;
pub use opening::{NextModel, next_model};
use phase::{Phase, Round};
use state::State;

/// What a run is made of, all of it fixed.
pub struct Setup {
    /// What is asked.
    pub plan: Plan,
    /// Of whom.
    pub roster: Roster,
    /// Signs the checkpoints; its public half is the roster's `coordinator_key`.
    pub key: SigningKey,
}

/// What happened.
pub enum Input {
    /// A new run: version 0 of the model is staged. Only where the journal is empty.
    Start {
        /// Of the staged files.
        genesis: Artifacts,
    },
    /// A member's session stands and its identity is proven.
    Connected {
        /// Who.
        client: ClientId,
    },
    /// Its session ended.
    Disconnected {
        /// Who.
        client: ClientId,
    },
    /// It said something.
    Message {
        /// Who, as its session has proven.
        from: ClientId,
        /// What.
        message: ToCoordinator,
    },
    /// Its masked vector lies in staging, complete, of the announced digest and durable.
    Staged(UploadHeader),
    /// A job is done.
    Recovered {
        /// Of which attempt.
        at: Attempt,
        /// What came out.
        result: RecoverResult,
    },
    /// The deadline that [`Coordinator::deadline`] named has passed.
    Tick,
}

/// What the shell must do, in this order.
#[derive(Debug)]
pub enum Effect {
    /// Append to the journal. A barrier: nothing after it may be seen until it is durable.
    Persist(Record),
    /// Say this to a client, if its session stands; it is said again when it reconnects.
    Send {
        /// To whom.
        to: ClientId,
        /// What.
        message: Box<ToClient>,
    },
    /// Open the sum and step the model on a worker; answer with [`Input::Recovered`].
    Compute(Box<RecoverJob>),
    /// Put the staged files of this record into the chain's folder, under their names. Idempotent.
    Publish(SignedManifest),
    /// Staged vectors of rounds before this one are of no more use.
    DiscardStaged {
        /// The first round that still matters.
        before: u64,
    },
}

/// Effects in their order.
pub type Effects = Vec<Effect>;

/// Opening one sum.
pub struct RecoverJob {
    /// Which attempt.
    pub at: Attempt,
    /// Its transcript.
    pub cohort: Arc<SharedCohort>,
    /// Whose vectors are summed, U3.
    pub included: BTreeSet<ClientId>,
    /// The staged vectors.
    pub uploads: Vec<UploadHeader>,
    /// The shares that open it.
    pub answers: BTreeMap<ClientId, UnmaskShares>,
    /// Round of the checkpoint whose model is stepped.
    pub parent_round: u64,
}

impl std::fmt::Debug for RecoverJob {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RecoverJob({:?}, {} vectors)", self.at, self.uploads.len())
    }
}

/// What a [`RecoverJob`] came to.
pub type RecoverResult = Result<Recovered, RecoverFailure>;

/// The next version, staged and durable.
#[derive(Debug, Clone, PartialEq)]
pub struct Recovered {
    /// Of the opened integer sum.
    pub aggregate: Digest,
    /// Of the staged files.
    pub artifacts: Artifacts,
    /// What was summed under the mask, as means.
    pub metrics: BTreeMap<String, f64>,
}

/// Files that the shell has staged for a checkpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct Artifacts {
    /// The model.
    pub model: checkpoint::ModelArtifact,
    /// The server optimiser's state, where it has one.
    pub optimizer: Option<checkpoint::OptimizerArtifact>,
}

/// Why a sum could not be opened or used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecoverFailure {
    /// A client's shares open, and give another secret than it committed to.
    #[error("client {0} shared a secret that is not the one it committed to")]
    WrongSecret(ClientId),
    /// The sum or the stepped model is not finite, or a server step is impossible.
    #[error("{0}")]
    BadAggregate(String),
}

/// Why a run cannot start or go on from its journal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// The plan is not the journal's.
    #[error(
        "this folder's run has plan {journal}, the configured plan is {configured}; start another run in a folder of its own"
    )]
    OtherPlan {
        /// The journal's, short.
        journal: String,
        /// The configured one's, short.
        configured: String,
    },
    /// The roster is not the journal's.
    #[error(
        "this folder's run has roster {journal}, the configured roster is {configured}; start another run in a folder of its own"
    )]
    OtherRoster {
        /// The journal's, short.
        journal: String,
        /// The configured one's, short.
        configured: String,
    },
    /// The roster does not name this coordinator's key.
    #[error(
        "the roster names another coordinator key than this machine's; ask the authority for a roster with key {0}"
    )]
    OtherKey(String),
    /// The roster is too small for the plan.
    #[error(
        "the roster has {members} members and the plan's cohort needs {needed}; enrol more silos or lower cohort.minimum"
    )]
    TooFewMembers {
        /// On the roster.
        members: usize,
        /// The plan's.
        needed: usize,
    },
    /// The roster's keys are not usable.
    #[error("{0}")]
    Roster(String),
    /// The plan's privacy cannot be accounted.
    #[error("{0}")]
    Plan(String),
}

/// A run, seen from the coordinator.
pub struct Coordinator {
    setup: Setup,
    members: Members,
    /// Of one round; `None` without noise.
    price: Option<Price>,
    state: State,
    /// Sessions, not part of the journalled state: a restart begins without any.
    links: BTreeMap<ClientId, Link>,
    /// The last thing that went wrong with a client, for the status only.
    reasons: BTreeMap<ClientId, String>,
    /// Since when this process waits in the idle phase, at the earliest its own start.
    idle_since: Timestamp,
    started: Timestamp,
}

/// A session.
#[derive(Debug, Clone, Copy, Default)]
struct Link {
    checked_in: bool,
}

impl Coordinator {
    /// The coordinator as its journal left it; effects resume what a crash interrupted.
    ///
    /// # Errors
    /// [`StartError`] where the configuration is not the journal's.
    ///
    /// # Panics
    /// On a journal that no coordinator wrote: its records passed their checksums and contradict each other.
    pub fn recover(
        setup: Setup,
        journal: &[Record],
        now: Timestamp,
        out: &mut Effects,
    ) -> Result<Self, StartError> {
        let members = setup.roster.member_keys().map_err(|e| StartError::Roster(e.to_string()))?;
        let own = setup.key.verifying_key();
        if setup.roster.coordinator_key().ok() != Some(own) {
            return Err(StartError::OtherKey(checkpoint::public_key_text(&own)));
        }
        if members.len() < setup.plan.cohort.minimum {
            return Err(StartError::TooFewMembers {
                members: members.len(),
                needed: setup.plan.cohort.minimum,
            });
        }
        let mut coordinator = Self {
            state: State::new(),
            price: Price::of(&setup.plan).map_err(|why| StartError::Plan(why.to_string()))?,
            members,
            links: BTreeMap::new(),
            reasons: BTreeMap::new(),
            idle_since: now,
            started: now,
            setup,
        };
        for record in journal {
            coordinator.check_setup(record)?;
            coordinator.apply(record);
        }
        if let Some(head) = coordinator.state.chain.last() {
            // The crash may have fallen between the record and its publication.
            out.push(Effect::Publish(head.clone()));
        }
        coordinator.announce_job(out);
        Ok(coordinator)
    }

    /// Whether [`Input::Start`] is still to come.
    pub fn is_new(&self) -> bool {
        self.state.run.is_none()
    }

    /// The run, once started.
    pub fn run_id(&self) -> Option<Digest> {
        self.state.run.as_ref().map(|run| run.id)
    }

    /// Takes one input and appends what is to be done.
    ///
    /// # Errors
    /// A [`Rejection`] of this input alone; the state is as before and the sender may be told.
    pub fn handle(
        &mut self,
        now: Timestamp,
        rng: &mut dyn CryptoRng,
        input: Input,
        out: &mut Effects,
    ) -> Result<(), Rejection> {
        let result = match input {
            Input::Start { genesis } => {
                self.start(now, rng, genesis, out);
                Ok(())
            }
            Input::Connected { client } => self.connected(client, out),
            Input::Disconnected { client } => {
                self.links.remove(&client);
                Ok(())
            }
            Input::Message { from, message } => self.message(from, message, now, out),
            Input::Staged(header) => self.staged(header, out),
            Input::Recovered { at, result } => {
                self.recovered(at, result, now, out);
                Ok(())
            }
            Input::Tick => Ok(()),
        };
        if let Err(rejection) = &result {
            self.note_rejection(rejection);
        }
        self.advance(now, rng, out);
        result
    }

    /// Whether a masked vector with this header may be sent now.
    ///
    /// # Errors
    /// [`Rejection`], before a byte of it is read.
    pub fn admit_upload(&self, header: &UploadHeader) -> Result<(), Rejection> {
        let Phase::Uploading(phase) = &self.state.phase else {
            return Err(self.out_of_phase("a masked vector"));
        };
        phase.admit(header, self.setup.plan.lanes())
    }

    /// When after `now` [`Input::Tick`] is due, if at all.
    pub fn deadline(&self, now: Timestamp) -> Option<Timestamp> {
        let plan = &self.setup.plan;
        let patience = match &self.state.phase {
            Phase::Idle => Some(self.idle_since.plus_ms(plan.timing.minimum_wait_ms)),
            phase => phase.patience(plan),
        };
        [patience, self.state.phase.deadline(plan)].into_iter().flatten().filter(|at| *at > now).min()
    }

    /// The published chain, oldest first.
    pub fn chain(&self) -> &[SignedManifest] {
        &self.state.chain
    }

    /// The one way in which journalled state changes, live and at recovery.
    fn apply(&mut self, record: &Record) {
        self.state.apply(record, &self.setup, &self.members);
    }

    /// Journals a fact and applies it.
    fn commit(&mut self, record: Record, out: &mut Effects) {
        self.apply(&record);
        out.push(Effect::Persist(record));
    }

    fn connected(&mut self, client: ClientId, out: &mut Effects) -> Result<(), Rejection> {
        if !self.members.contains_key(&client) {
            return Err(Rejection::UnknownClient(client));
        }
        self.links.insert(client, Link::default());
        let Some(run) = &self.state.run else { return Ok(()) };
        let welcome = ToClient::Welcome {
            run_id: run.id,
            plan: self.setup.plan.to_canonical(),
            roster: self.setup.roster.digest(),
        };
        send(out, client, welcome);
        Ok(())
    }

    fn message(
        &mut self,
        from: ClientId,
        message: ToCoordinator,
        now: Timestamp,
        out: &mut Effects,
    ) -> Result<(), Rejection> {
        match message {
            ToCoordinator::CheckIn { head } => self.check_in(from, head, out),
            ToCoordinator::Declined { round, reason } => self.declined(from, round, reason, out),
            ToCoordinator::Advertise { at, advert } => match self.state.phase.advertising(at)? {
                Some(phase) => {
                    let new = phase.admit(from, &advert, &self.members)?;
                    self.commit_if(new, Record::Advertised(advert), out);
                    Ok(())
                }
                None => Err(self.out_of_phase("an advert")),
            },
            ToCoordinator::ShareKeys { at, bundle } => match self.state.phase.sharing(at)? {
                Some(phase) => {
                    let new = phase.admit(from, &bundle)?;
                    self.commit_if(new, Record::Shared(bundle), out);
                    Ok(())
                }
                None => Err(self.out_of_phase("key shares")),
            },
            ToCoordinator::Complain { at, complaint } => {
                let Some(cohort) = self.state.phase.delivered(at)? else {
                    return Err(self.out_of_phase("a complaint"));
                };
                if complaint.accuser != from {
                    return Err(Rejection::Invalid("a complaint in another silo's name".into()));
                }
                cohort
                    .cohort()
                    .verify_complaint(&complaint)
                    .map_err(|why| Rejection::Invalid(why.to_string()))?;
                let (accuser, accused) = (complaint.accuser, complaint.accused);
                self.commit(Record::KeptApart { accuser, accused }, out);
                self.abort(now, RoundOutcome::Complaint { accuser, accused }, out);
                Ok(())
            }
            ToCoordinator::SignIncluded { at, signature } => match self.state.phase.consistency(at)? {
                Some(phase) => {
                    let new = phase.admit(from, &signature)?;
                    self.commit_if(new, Record::IncludedSigned(signature), out);
                    Ok(())
                }
                // A signature after the quorum is late, not wrong.
                None if self.state.phase.is_past_consistency() => Ok(()),
                None => Err(self.out_of_phase("a signature on the included set")),
            },
            ToCoordinator::Unmask { at, shares } => self.unmask(from, at, shares, out),
        }
    }

    fn check_in(&mut self, from: ClientId, head: Option<u64>, out: &mut Effects) -> Result<(), Rejection> {
        let newest = self.state.head_round();
        if head.is_some_and(|seen| seen > newest) {
            return Err(Rejection::Invalid(format!(
                "this silo has seen the chain up to round {}, the coordinator holds it up to round {newest}: \
                 the coordinator's folder was rolled back; restore its newest journal",
                head.unwrap_or_default()
            )));
        }
        for manifest in self.state.chain_after(head) {
            send(out, from, ToClient::Published(manifest.clone()));
        }
        self.links.insert(from, Link { checked_in: true });
        if let Phase::Ended(reason) = &self.state.phase {
            send(out, from, ToClient::Finished { reason: reason.clone() });
        } else if let Some(message) = self.state.phase.message_for(from) {
            send(out, from, message);
        }
        Ok(())
    }

    fn declined(
        &mut self,
        from: ClientId,
        round: Option<u64>,
        reason: Decline,
        out: &mut Effects,
    ) -> Result<(), Rejection> {
        self.reasons.insert(from, reason.to_string());
        match round {
            None => {
                self.drop_client(from, DropReason::Declined(reason.clone()), out);
                if !self.state.refused.contains_key(&from) {
                    self.commit(Record::Refused { client: from, reason: reason.to_string() }, out);
                }
                if let Some(link) = self.links.get_mut(&from) {
                    link.checked_in = false;
                }
            }
            Some(round) => {
                if self.state.phase.round().is_none_or(|r| r.at.round != round) {
                    return Err(Rejection::StaleAttempt);
                }
                self.drop_client(from, DropReason::Declined(reason), out);
            }
        }
        Ok(())
    }

    fn staged(&mut self, header: UploadHeader, out: &mut Effects) -> Result<(), Rejection> {
        let lanes = self.setup.plan.lanes();
        let phase = match &self.state.phase {
            Phase::Uploading(phase) => phase,
            later if later.has_staged(&header) => {
                // The acknowledgement was lost; the upload was not.
                send(out, header.client, ToClient::UploadDurable { at: header.at });
                return Ok(());
            }
            _ => return Err(self.out_of_phase("a masked vector")),
        };
        phase.admit(&header, lanes)?;
        let (client, at) = (header.client, header.at);
        let new = !phase.staged.contains_key(&client);
        self.commit_if(new, Record::Staged(header), out);
        send(out, client, ToClient::UploadDurable { at });
        Ok(())
    }

    fn unmask(
        &mut self,
        from: ClientId,
        at: Attempt,
        shares: UnmaskShares,
        out: &mut Effects,
    ) -> Result<(), Rejection> {
        let Some(phase) = self.state.phase.unmasking(at)? else {
            // An answer after the threshold is late, not wrong.
            return if self.state.phase.is_past_unmasking() {
                Ok(())
            } else {
                Err(self.out_of_phase("an unmask answer"))
            };
        };
        match phase.admit(from, &shares) {
            Ok(new) => {
                self.commit_if(new, Record::Unmasked(shares), out);
                Ok(())
            }
            Err(rejection) => {
                if let Rejection::Invalid(why) = &rejection {
                    self.drop_client(from, DropReason::Misbehaved(why.clone()), out);
                }
                Err(rejection)
            }
        }
    }

    fn commit_if(&mut self, new: bool, record: Record, out: &mut Effects) {
        if new {
            self.commit(record, out);
        }
    }

    fn drop_client(&mut self, client: ClientId, reason: DropReason, out: &mut Effects) {
        self.reasons.insert(client, reason.to_string());
        if self.state.phase.round().is_some_and(|round| round.takes_part(client)) {
            self.commit(Record::Dropped { client, reason }, out);
        }
    }

    fn abort(&mut self, now: Timestamp, outcome: RoundOutcome, out: &mut Effects) {
        let Some(round) = self.state.phase.round() else {
            return;
        };
        let (at, cohort) = (round.at, round.cohort.clone());
        self.commit(Record::Aborted { now, outcome: outcome.clone() }, out);
        self.idle_since = now;
        for client in cohort {
            send(out, client, ToClient::Aborted { at, outcome: outcome.clone() });
        }
        out.push(Effect::DiscardStaged { before: self.state.next.round });
    }

    /// Moves on as far as what is known allows.
    fn advance(&mut self, now: Timestamp, rng: &mut dyn CryptoRng, out: &mut Effects) {
        loop {
            match &self.state.phase {
                Phase::NotStarted | Phase::Ended(_) | Phase::Recovering(_) => return,
                Phase::Idle => {
                    if let Some(reason) = self.end_reason() {
                        self.commit(Record::Ended { reason: reason.clone() }, out);
                        for client in self.links.keys() {
                            send(out, *client, ToClient::Finished { reason: reason.clone() });
                        }
                        return;
                    }
                    let Some(cohort) = self.next_cohort(now, rng) else {
                        return;
                    };
                    let at = self.state.next;
                    self.commit(Record::Opened { now, at, cohort }, out);
                }
                phase => match phase.verdict(now, &self.setup.plan) {
                    phase::Verdict::Wait => return,
                    phase::Verdict::Abort(outcome) => {
                        self.drop_silent(out);
                        self.abort(now, outcome, out);
                        continue;
                    }
                    phase::Verdict::Go => {
                        self.drop_silent(out);
                        let record = self.state.phase.next_record(now);
                        self.commit(record, out);
                    }
                },
            }
            self.announce(out);
        }
    }

    /// Names everyone who did not answer the step that is now over.
    fn drop_silent(&mut self, out: &mut Effects) {
        let Some(reason) = self.state.phase.silence() else {
            return;
        };
        for client in self.state.phase.awaited() {
            self.drop_client(client, reason.clone(), out);
        }
    }

    /// Says the current step to everyone in it.
    fn announce(&mut self, out: &mut Effects) {
        for client in self.links.keys() {
            if let Some(message) = self.state.phase.message_for(*client) {
                send(out, *client, message);
            }
        }
        self.announce_job(out);
    }

    fn announce_job(&self, out: &mut Effects) {
        if let Phase::Recovering(phase) = &self.state.phase {
            out.push(Effect::Compute(Box::new(phase.job(self.state.head_round()))));
        }
    }

    fn out_of_phase(&self, message: &str) -> Rejection {
        Rejection::OutOfPhase { message: message.into(), phase: self.state.phase.name().into() }
    }

    fn note_rejection(&mut self, rejection: &Rejection) {
        if let Rejection::UnknownClient(client) = rejection {
            self.reasons.insert(*client, rejection.to_string());
        }
    }

    fn check_setup(&self, record: &Record) -> Result<(), StartError> {
        let Record::RunStarted { plan, roster, .. } = record else {
            return Ok(());
        };
        let (own_plan, own_roster) = (self.setup.plan.digest(), self.setup.roster.digest());
        if *plan != own_plan {
            return Err(StartError::OtherPlan { journal: plan.short(), configured: own_plan.short() });
        }
        if *roster != own_roster {
            return Err(StartError::OtherRoster { journal: roster.short(), configured: own_roster.short() });
        }
        Ok(())
    }
}

fn send(out: &mut Effects, to: ClientId, message: ToClient) {
    out.push(Effect::Send { to, message: Box::new(message) });
}

impl Round {
    fn takes_part(&self, client: ClientId) -> bool {
        self.cohort.contains(&client) && !self.dropped.contains_key(&client)
    }
}

/// Whether a run is over, and who is in the next round: decisions of the idle phase.
impl Coordinator {
    fn end_reason(&self) -> Option<RunEnd> {
        let plan = &self.setup.plan;
        if self.state.committed >= plan.rounds {
            return Some(RunEnd::Complete);
        }
        if let (Some(price), Some((epsilon, _))) = (&self.price, plan.budget())
            && price.epsilon(self.state.steps + 1) > epsilon
        {
            return Some(RunEnd::BudgetSpent);
        }
        let willing = self.members.len() - self.state.refused.len();
        let needed = plan.cohort.minimum;
        (willing < needed).then(|| RunEnd::Refused {
            willing,
            needed,
            first_reason: self.state.refused.values().next().cloned().unwrap_or_default(),
        })
    }

    /// The next cohort, once everyone expected is here, or the minimum wait is over and a quorum is.
    fn next_cohort(&self, now: Timestamp, rng: &mut dyn CryptoRng) -> Option<Vec<ClientId>> {
        let plan = &self.setup.plan;
        let waited = now >= self.idle_since.plus_ms(plan.timing.minimum_wait_ms);
        let here: BTreeSet<ClientId> = self.here();
        if !waited && (self.state.backing_off || self.expected().any(|client| !here.contains(&client))) {
            return None;
        }
        let cohort = self.choose(here, rng);
        (cohort.len() >= plan.cohort.minimum).then_some(cohort)
    }

    /// Willing members whose sessions have checked in.
    fn here(&self) -> BTreeSet<ClientId> {
        self.links
            .iter()
            .filter(|(client, link)| link.checked_in && !self.state.refused.contains_key(client))
            .map(|(client, _)| *client)
            .collect()
    }

    /// Whom the next round waits for: every willing member at the start of the run or of this process, later
    /// those whose session stands.
    fn expected(&self) -> impl Iterator<Item = ClientId> {
        let fresh = self.idle_since == self.started;
        self.members
            .keys()
            .copied()
            .filter(move |client| fresh || self.links.contains_key(client))
            .filter(|client| !self.state.refused.contains_key(client))
    }

    /// At most `cohort.maximum` of them, drawn evenly, no two of whom are kept apart.
    fn choose(&self, here: BTreeSet<ClientId>, rng: &mut dyn CryptoRng) -> Vec<ClientId> {
        let mut candidates: Vec<ClientId> = here.into_iter().collect();
        if candidates.len() > self.setup.plan.cohort.maximum || !self.state.apart.is_empty() {
            shuffle(&mut candidates, rng);
        }
        let mut chosen: Vec<ClientId> = Vec::new();
        for candidate in candidates {
            let clash = chosen.iter().any(|other| self.state.kept_apart(*other, candidate));
            if !clash && chosen.len() < self.setup.plan.cohort.maximum {
                chosen.push(candidate);
            }
        }
        chosen.sort_unstable();
        chosen
    }
}

/// Fisher-Yates. The bias of a 64-bit remainder over at most 255 clients is below 2^-56.
fn shuffle(clients: &mut [ClientId], rng: &mut dyn CryptoRng) {
    for last in (1..clients.len()).rev() {
        let pick = rng.next_u64() % (last as u64 + 1);
        clients.swap(last, pick as usize);
    }
}
