//! A silo's side of a run: it verifies everything, and it says each thing once.

mod facts;
mod round;

use std::collections::BTreeSet;
use std::sync::Arc;

use checkpoint::SignedManifest;
use ed25519_dalek::VerifyingKey;
use identity::{IdentityKey, Plan, Policy, Refusal, Roster};
use params::Digest;
use rand_core::CryptoRng;
use secagg::{
    Advert, Advertised, ClientId, Delivery, DeliveryRejection, IncludedSignature, Masking, Members,
    RoundBinding, unmask_request_digest,
};
use zeroize::Zeroizing;

use crate::Timestamp;
use crate::message::{
    Attempt, CoordinatorFault, Decline, Rejection, RunEnd, ToClient, ToCoordinator, UploadHeader,
};
use crate::record::ClientRecord;
use crate::spend::epsilon_of;
use facts::Facts;
use round::{Round, Step};

/// Who this silo is and what it pins and allows; all of it from the silo's own disk.
pub struct Profile {
    /// Its number on the roster.
    pub id: ClientId,
    /// Its key.
    pub identity: IdentityKey,
    /// The pinned roster, opened under the authority's key.
    pub roster: Roster,
    /// Its rules.
    pub policy: Policy,
}

/// What happened.
pub enum ClientInput {
    /// The coordinator said something.
    Message(ToClient),
    /// The update of this attempt is trained and held by the shell, or could not be.
    Trained {
        /// Which.
        at: Attempt,
        /// Whether there is an update.
        ok: bool,
    },
    /// The vector of this attempt is masked and held by the shell; `None` where it could not be.
    Masked {
        /// Which.
        at: Attempt,
        /// SHA-256 of its bytes.
        digest: Option<Digest>,
    },
    /// The deadline that [`Participant::deadline`] named has passed.
    Tick,
}

/// What the shell must do, in this order.
#[derive(Debug)]
pub enum ClientEffect {
    /// Append to the journal. A barrier: nothing after it leaves the silo until it is durable.
    Persist(ClientRecord),
    /// Say this to the coordinator, if the session stands.
    Send(Box<ToCoordinator>),
    /// Fetch the model, check it, train, hold the update; answer with [`ClientInput::Trained`].
    Train(TrainJob),
    /// Quantise, add noise and mask the held update; answer with [`ClientInput::Masked`].
    Mask(Box<MaskJob>),
    /// Send the masked vector, or what the coordinator lacks of it.
    Upload(UploadHeader),
    /// What the shell holds of this attempt is of no more use: wipe it.
    Forget(Attempt),
}

/// Effects in their order.
pub type ClientEffects = Vec<ClientEffect>;

/// Training for one attempt.
pub struct TrainJob {
    /// Which.
    pub at: Attempt,
    /// The run's plan.
    pub plan: Arc<Plan>,
    /// Round of the checkpoint to start from.
    pub model_round: u64,
    /// What the fetched parameters must hash to.
    pub model: Digest,
    /// For sampling; secret, since it tells which records were in the batch.
    pub seed: Zeroizing<[u8; 32]>,
}

impl std::fmt::Debug for TrainJob {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TrainJob({:?}, model {})", self.at, self.model.short())
    }
}

/// Masking for one attempt. Consumed: its seeds mask one vector.
pub struct MaskJob {
    /// Which.
    pub at: Attempt,
    /// The run's plan.
    pub plan: Arc<Plan>,
    /// The masks' seeds.
    pub masking: Masking,
    /// For rounding and noise; used for this attempt only.
    pub noise_seed: Zeroizing<[u8; 32]>,
}

impl std::fmt::Debug for MaskJob {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "MaskJob({:?})", self.at)
    }
}

/// Why a silo cannot take part at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParticipantError {
    /// The roster does not name this silo.
    #[error(
        "the pinned roster has no member {0}; ask the federation's authority for a roster that names this silo"
    )]
    NotAMember(ClientId),
    /// The roster names another key for this silo.
    #[error("the pinned roster names another identity key for member {0} than this machine holds")]
    OtherKey(ClientId),
    /// The roster's keys are not usable.
    #[error("{0}")]
    Roster(String),
    /// The roster is older than one this silo has worked with.
    #[error(
        "the pinned roster has epoch {pinned}, this silo has already worked with epoch {seen}; pin the newer one"
    )]
    OlderRoster {
        /// The configured one's.
        pinned: u64,
        /// The journal's highest.
        seen: u64,
    },
    /// The journal contradicts itself.
    #[error(
        "the silo's journal contradicts itself at record {index}: {why}; restore it, and do not delete it: it holds what this silo has spent"
    )]
    Journal {
        /// Which record, counted from 0.
        index: usize,
        /// What is wrong.
        why: String,
    },
}

/// What the silo's operator sees.
#[derive(Debug, Clone, PartialEq)]
pub struct ParticipantStatus {
    /// The run, once welcomed.
    pub run_id: Option<Digest>,
    /// The round it works on or worked on last.
    pub round: Option<Attempt>,
    /// What it is doing.
    pub state: &'static str,
    /// Uploads debited from this silo's data, over all runs.
    pub uploads: u64,
    /// Spent by this silo's data over all runs at the policy's `delta_max`; zero where nothing was noised.
    pub epsilon_spent: f64,
    /// The last thing that went wrong, in words.
    pub last_reason: String,
    /// Why the run is over, once it is.
    pub ended: Option<RunEnd>,
}

/// A silo in a run.
pub struct Participant {
    profile: Profile,
    members: Members,
    coordinator_key: VerifyingKey,
    /// What the journal says.
    facts: Facts,
    /// The run of this session.
    run: Option<CurrentRun>,
    /// The attempt in progress: secrets, in memory only, never journalled.
    round: Option<Round>,
    last_reason: String,
    ended: Option<RunEnd>,
}

struct CurrentRun {
    id: Digest,
    plan: Arc<Plan>,
}

impl Participant {
    /// The silo as its journal left it. The secrets of a round in progress are gone: it sits that round out.
    ///
    /// # Errors
    /// [`ParticipantError`]
    pub fn recover(profile: Profile, journal: &[ClientRecord]) -> Result<Self, ParticipantError> {
        let members = profile.roster.member_keys().map_err(|e| ParticipantError::Roster(e.to_string()))?;
        let coordinator_key =
            profile.roster.coordinator_key().map_err(|e| ParticipantError::Roster(e.to_string()))?;
        match members.get(&profile.id) {
            None => return Err(ParticipantError::NotAMember(profile.id)),
            Some(key) if *key != profile.identity.public() => {
                return Err(ParticipantError::OtherKey(profile.id));
            }
            Some(_) => {}
        }
        let mut facts = Facts::default();
        for (index, record) in journal.iter().enumerate() {
            facts
                .apply(record, &coordinator_key)
                .map_err(|why| ParticipantError::Journal { index, why: why.to_string() })?;
        }
        if facts.roster_epoch > profile.roster.epoch {
            return Err(ParticipantError::OlderRoster {
                pinned: profile.roster.epoch,
                seen: facts.roster_epoch,
            });
        }
        Ok(Self {
            profile,
            members,
            coordinator_key,
            facts,
            run: None,
            round: None,
            last_reason: String::new(),
            ended: None,
        })
    }

    /// Takes one input and appends what is to be done. Nothing the coordinator says is an error of this
    /// function: what does not verify is declined, and the reason stands in the status.
    pub fn handle(
        &mut self,
        now: Timestamp,
        rng: &mut dyn CryptoRng,
        input: ClientInput,
        out: &mut ClientEffects,
    ) {
        match input {
            ClientInput::Message(message) => self.message(now, rng, message, out),
            ClientInput::Trained { at, ok } => self.trained(at, ok, out),
            ClientInput::Masked { at, digest } => self.masked(at, digest, out),
            ClientInput::Tick => {}
        }
        self.advertise_when_ready(now, rng, out);
    }

    /// When [`ClientInput::Tick`] is due, if at all.
    pub fn deadline(&self) -> Option<Timestamp> {
        match self.round.as_ref()?.step {
            Step::Trained => self.round.as_ref()?.ready_at(self.run.as_ref()?.plan.timing.ready_after_ms),
            _ => None,
        }
    }

    /// What the silo's operator sees now.
    pub fn status(&self) -> ParticipantStatus {
        ParticipantStatus {
            run_id: self.run.as_ref().map(|run| run.id),
            round: self.round.as_ref().map(|round| round.at),
            state: match (&self.ended, &self.round, &self.run) {
                (Some(_), _, _) => "the run is over",
                (_, Some(round), _) => round.step.name(),
                (_, None, Some(_)) => "waiting for a round",
                (_, None, None) => "waiting to be welcomed",
            },
            uploads: self.facts.uploads,
            epsilon_spent: self.facts.epsilon(self.profile.policy.delta_max, None),
            last_reason: self.last_reason.clone(),
            ended: self.ended.clone(),
        }
    }

    fn message(
        &mut self,
        now: Timestamp,
        rng: &mut dyn CryptoRng,
        message: ToClient,
        out: &mut ClientEffects,
    ) {
        match message {
            ToClient::Welcome { run_id, plan, roster } => self.welcome(run_id, &plan, roster, out),
            ToClient::Published(signed) => self.published(signed, out),
            ToClient::Open { at, model } => self.open(now, rng, at, model, out),
            ToClient::Roster { at, adverts } => self.roster(rng, at, adverts, out),
            ToClient::Deliver { at, delivery } => self.deliver(rng, at, delivery, out),
            ToClient::UploadDurable { at } => {
                if self.round.as_mut().is_some_and(|round| round.at == at && round.upload_is_durable()) {
                    out.push(ClientEffect::Forget(at));
                }
            }
            ToClient::Included { at, included } => self.included(at, included, out),
            ToClient::UnmaskRequest { at, included, signatures } => {
                self.unmask(at, included, &signatures, out);
            }
            ToClient::Aborted { at, outcome } => {
                if self.round.as_ref().is_some_and(|round| round.at == at) {
                    self.last_reason = format!("round {} was aborted: {outcome}", at.round);
                    self.erase(out);
                }
            }
            ToClient::Refused { rejection } => self.refused(&rejection),
            ToClient::Finished { reason } => {
                self.ended = Some(reason);
                self.erase(out);
            }
        }
    }

    fn welcome(&mut self, run_id: Digest, plan: &[u8], roster: Digest, out: &mut ClientEffects) {
        if self.run.as_ref().is_some_and(|run| run.id != run_id) {
            self.erase(out);
        }
        self.run = None;
        self.ended = None;
        if roster != self.profile.roster.digest() {
            return self.decline(None, fault(CoordinatorFault::Roster), out);
        }
        let Ok(plan) = Plan::from_canonical(plan) else {
            return self.decline(None, fault(CoordinatorFault::Plan), out);
        };
        let digest = plan.digest();
        if self.facts.run(&run_id).is_some_and(|facts| facts.plan != digest) {
            return self.decline(None, fault(CoordinatorFault::Plan), out);
        }
        if let Err(refusal) = self.profile.policy.check(&plan) {
            return self.decline(None, policy(&refusal), out);
        }
        if self.facts.current_run() != Some(run_id) {
            let roster_epoch = self.profile.roster.epoch;
            self.commit(ClientRecord::Joined { run_id, plan: digest, roster_epoch }, out);
        }
        self.run = Some(CurrentRun { id: run_id, plan: Arc::new(plan) });
        let head = self.facts.run(&run_id).and_then(|facts| facts.head_round());
        out.push(ClientEffect::Send(Box::new(ToCoordinator::CheckIn { head })));
    }

    fn published(&mut self, signed: SignedManifest, out: &mut ClientEffects) {
        let Some(run) = &self.run else { return };
        let Some(facts) = self.facts.run(&run.id) else {
            return;
        };
        if facts.is_head(&signed) {
            return;
        }
        if facts.check_next(&signed, &run.id).is_err() {
            return self.decline(None, fault(CoordinatorFault::Chain), out);
        }
        self.commit(ClientRecord::ChainHead(signed), out);
    }

    fn open(
        &mut self,
        now: Timestamp,
        rng: &mut dyn CryptoRng,
        at: Attempt,
        model: Digest,
        out: &mut ClientEffects,
    ) {
        if let Some(round) = &self.round
            && round.at == at
        {
            if let (true, Some(advert)) = (round.model == model, round.advert()) {
                let again = ToCoordinator::Advertise { at, advert: advert.clone() };
                out.push(ClientEffect::Send(Box::new(again)));
            } else if round.model != model {
                self.fault(at, CoordinatorFault::Equivocation, out);
            }
            return;
        }
        let Some(run) = &self.run else { return };
        let Some(facts) = self.facts.run(&run.id) else {
            return;
        };
        if !facts.is_new(at) {
            // Its secrets are gone: this process began after the attempt did, or it was declined before.
            return self.decline(Some(at.round), Decline::SitsOut, out);
        }
        if facts.head_model() != Some(model) {
            return self.fault(at, CoordinatorFault::Model, out);
        }
        let model_round = facts.head_round().unwrap_or_default();
        let plan = Arc::clone(&run.plan);
        if let Err(refusal) = self.check_budget(&plan, model) {
            return self.decline(None, policy(&refusal), out);
        }
        self.erase(out);
        let mut seed = Zeroizing::new([0u8; 32]);
        rng.fill_bytes(seed.as_mut());
        self.round = Some(Round::open(at, model, now));
        out.push(ClientEffect::Train(TrainJob { at, plan, model_round, model, seed }));
    }

    /// Whether this silo's data may be used once more.
    fn check_budget(&self, plan: &Plan, model: Digest) -> Result<(), Refusal> {
        let Some(event) = plan.event() else {
            let uploads = self.facts.uploads_on(&model);
            let repeats = self.profile.policy.repeats_without_dp;
            return if uploads > repeats { Err(Refusal::Repeats { uploads, repeats }) } else { Ok(()) };
        };
        let policy = &self.profile.policy;
        let composed = self.facts.epsilon(policy.delta_max, Some(&event));
        if composed > policy.epsilon_max {
            return Err(Refusal::BudgetSpent { after: composed, limit: policy.epsilon_max });
        }
        let own = self.run.as_ref().and_then(|run| self.facts.run(&run.id)).map_or(0, |f| f.debits);
        if let Some((limit, delta)) = plan.budget() {
            let after = epsilon_of([(&event, own + 1)], delta);
            if after > limit {
                return Err(Refusal::BudgetSpent { after, limit });
            }
        }
        Ok(())
    }

    fn trained(&mut self, at: Attempt, ok: bool, out: &mut ClientEffects) {
        let Some(round) = self.round.as_mut().filter(|round| round.at == at) else {
            return;
        };
        if !matches!(round.step, Step::Training) {
            return;
        }
        if ok {
            round.step = Step::Trained;
        } else {
            self.erase(out);
            self.decline(Some(at.round), Decline::Unavailable, out);
        }
    }

    fn advertise_when_ready(&mut self, now: Timestamp, rng: &mut dyn CryptoRng, out: &mut ClientEffects) {
        let (Some(run), Some(round)) = (&self.run, &mut self.round) else {
            return;
        };
        let due = round.ready_at(run.plan.timing.ready_after_ms).is_some_and(|at| now >= at);
        if !matches!(round.step, Step::Trained) || !due {
            return;
        }
        let at = round.at;
        let context = RoundBinding {
            run_id: *run.id.as_bytes(),
            plan_hash: *run.plan.digest().as_bytes(),
            roster_hash: *self.profile.roster.digest().as_bytes(),
            round: at.round,
            attempt: at.attempt,
            model_hash: *round.model.as_bytes(),
        }
        .ctx0();
        let (state, advert) =
            Advertised::new(self.profile.id, context, self.profile.identity.signing_key(), rng);
        round.step = Step::Advertised { state, advert: advert.clone() };
        self.commit(ClientRecord::Advertised { at }, out);
        out.push(ClientEffect::Send(Box::new(ToCoordinator::Advertise { at, advert })));
    }

    fn roster(
        &mut self,
        rng: &mut dyn CryptoRng,
        at: Attempt,
        adverts: Vec<Advert>,
        out: &mut ClientEffects,
    ) {
        let Some(mut round) = self.take_round(at, out) else {
            return;
        };
        let identity = self.profile.identity.signing_key();
        let floors = self.run.as_ref().map(|run| run.plan.cohort.clone()).map(|cohort| secagg::Floors {
            cohort_min: cohort.minimum.max(self.profile.policy.cohort_min),
            honest_min: cohort.honest_min.max(self.profile.policy.honest_min),
            corrupt: cohort.corrupt,
        });
        let Some(floors) = floors else { return };
        match round.step {
            Step::Advertised { state, .. } => {
                match state.accept_roster(&adverts, &self.members, &floors, identity, rng) {
                    Ok((state, bundle)) => {
                        let message = ToCoordinator::ShareKeys { at, bundle: bundle.clone() };
                        round.adverts = adverts;
                        round.bundle = Some(bundle);
                        round.step = Step::Shared { state };
                        self.round = Some(round);
                        out.push(ClientEffect::Send(Box::new(message)));
                    }
                    Err(why) => {
                        self.last_reason = why.to_string();
                        out.push(ClientEffect::Forget(at));
                        self.fault(at, CoordinatorFault::Cohort, out);
                    }
                }
            }
            step if round.bundle.is_some() && round.adverts == adverts => {
                round.step = step;
                if let Some(bundle) = round.bundle.clone() {
                    out.push(ClientEffect::Send(Box::new(ToCoordinator::ShareKeys { at, bundle })));
                }
                self.round = Some(round);
            }
            _ => self.equivocated(at, out),
        }
    }

    fn deliver(&mut self, rng: &mut dyn CryptoRng, at: Attempt, delivery: Delivery, out: &mut ClientEffects) {
        let Some(mut round) = self.take_round(at, out) else {
            return;
        };
        let Some(plan) = self.run.as_ref().map(|run| Arc::clone(&run.plan)) else {
            return;
        };
        match round.step {
            Step::Shared { state } => {
                match state.accept_delivery(&delivery, self.profile.identity.signing_key()) {
                    Ok((masking, held)) => {
                        let mut noise_seed = Zeroizing::new([0u8; 32]);
                        rng.fill_bytes(noise_seed.as_mut());
                        round.delivery = Some(delivery);
                        round.step = Step::Masking { r2: Digest::from_bytes(masking.r2().0), held };
                        self.round = Some(round);
                        out.push(ClientEffect::Mask(Box::new(MaskJob { at, plan, masking, noise_seed })));
                    }
                    Err(DeliveryRejection::Complain(complaint)) => {
                        self.last_reason =
                            format!("client {} sent shares that do not open", complaint.accused);
                        out.push(ClientEffect::Forget(at));
                        let message = ToCoordinator::Complain { at, complaint };
                        out.push(ClientEffect::Send(Box::new(message)));
                    }
                    Err(DeliveryRejection::Coordinator(why)) => {
                        self.last_reason = why.to_string();
                        out.push(ClientEffect::Forget(at));
                        self.fault(at, CoordinatorFault::Delivery, out);
                    }
                }
            }
            step if round.delivery.as_ref() == Some(&delivery) => {
                if let Step::Uploaded { header, .. } = &step {
                    // The same bytes under the same transcript: the same upload, no second debit.
                    out.push(ClientEffect::Upload(header.clone()));
                }
                round.step = step;
                self.round = Some(round);
            }
            _ => self.equivocated(at, out),
        }
    }

    fn masked(&mut self, at: Attempt, digest: Option<Digest>, out: &mut ClientEffects) {
        let Some(mut round) = self.round.take_if(|round| round.at == at) else {
            return;
        };
        let Some(event) = self.run.as_ref().map(|run| (run.plan.event(), run.plan.lanes())) else {
            return;
        };
        let Step::Masking { r2, held } = round.step else {
            self.round = Some(round);
            return;
        };
        let Some(digest) = digest else {
            out.push(ClientEffect::Forget(at));
            return self.decline(Some(at.round), Decline::Unavailable, out);
        };
        let signature =
            secagg::sign_input(held.r2(), *digest.as_bytes(), self.profile.identity.signing_key());
        let header = UploadHeader {
            client: self.profile.id,
            at,
            r2,
            digest,
            lanes: event.1 as u64,
            signature: signature.0,
        };
        let model = round.model;
        round.step = Step::Uploaded { held, header: header.clone(), durable: false };
        self.round = Some(round);
        // The reservation is the debit, and it is durable before the first byte leaves.
        self.commit(ClientRecord::Debited { at, model, r2, upload: digest, event: event.0 }, out);
        out.push(ClientEffect::Upload(header));
    }

    fn included(&mut self, at: Attempt, included: Vec<ClientId>, out: &mut ClientEffects) {
        let Some(mut round) = self.take_round(at, out) else {
            return;
        };
        let set: BTreeSet<ClientId> = included.iter().copied().collect();
        match round.step {
            Step::Uploaded { held, .. } => {
                let r2 = held.r2();
                match held.sign_included(&set, self.profile.identity.signing_key()) {
                    Ok((state, signature)) => {
                        let request = Digest::from_bytes(unmask_request_digest(r2, &set));
                        round.step = Step::Signed { state, included: set, signature: signature.clone() };
                        self.round = Some(round);
                        self.commit(ClientRecord::SignedIncluded { at, request }, out);
                        out.push(ClientEffect::Send(Box::new(ToCoordinator::SignIncluded { at, signature })));
                    }
                    Err(refused) => {
                        self.last_reason = refused.reason.to_string();
                        out.push(ClientEffect::Forget(at));
                        self.fault(at, CoordinatorFault::Included, out);
                    }
                }
            }
            Step::Signed { state, included: signed, signature } if signed == set => {
                let message = ToCoordinator::SignIncluded { at, signature: signature.clone() };
                round.step = Step::Signed { state, included: signed, signature };
                self.round = Some(round);
                out.push(ClientEffect::Send(Box::new(message)));
            }
            Step::Answered { included: signed } if signed == set => {
                // The quorum is long complete; nothing is owed.
                round.step = Step::Answered { included: signed };
                self.round = Some(round);
            }
            _ => self.equivocated(at, out),
        }
    }

    fn unmask(
        &mut self,
        at: Attempt,
        included: Vec<ClientId>,
        signatures: &[IncludedSignature],
        out: &mut ClientEffects,
    ) {
        let set: BTreeSet<ClientId> = included.iter().copied().collect();
        let facts = self.run.as_ref().and_then(|run| self.facts.run(&run.id));
        if let Some((request, shares)) = facts.and_then(|facts| facts.answer(at)) {
            let r2 = facts.and_then(|facts| facts.transcript(at));
            let same = r2.is_some_and(|r2| {
                Digest::from_bytes(unmask_request_digest(secagg::R2(*r2.as_bytes()), &set)) == *request
            });
            if same {
                let message = ToCoordinator::Unmask { at, shares: shares.clone() };
                out.push(ClientEffect::Send(Box::new(message)));
            } else {
                self.fault(at, CoordinatorFault::UnmaskRequest, out);
            }
            return;
        }
        let Some(mut round) = self.take_round(at, out) else {
            return;
        };
        let Step::Signed { state, included: signed, signature } = round.step else {
            return self.fault(at, CoordinatorFault::UnmaskRequest, out);
        };
        if signed != set {
            return self.equivocated(at, out);
        }
        let r2 = state.r2();
        match state.unmask(signatures) {
            Ok(shares) => {
                round.step = Step::Answered { included: set.clone() };
                let request = Digest::from_bytes(unmask_request_digest(r2, &set));
                self.round = Some(round);
                self.commit(ClientRecord::Unmasked { at, request, shares: shares.clone() }, out);
                out.push(ClientEffect::Send(Box::new(ToCoordinator::Unmask { at, shares })));
            }
            Err(refused) => {
                // A request without a quorum is refused; the one with a quorum may still come.
                self.last_reason = refused.reason.to_string();
                round.step = Step::Signed { state: *refused.state, included: signed, signature };
                self.round = Some(round);
            }
        }
    }

    fn refused(&mut self, rejection: &Rejection) {
        self.last_reason = format!("the coordinator refused a message: {rejection}");
    }

    /// Takes the attempt's secrets out to work on them; whoever does not put them back has erased them.
    fn take_round(&mut self, at: Attempt, out: &mut ClientEffects) -> Option<Round> {
        if let Some(round) = self.round.take_if(|round| round.at == at) {
            return Some(round);
        }
        self.decline(Some(at.round), Decline::SitsOut, out);
        None
    }

    /// Two different messages of one step: nothing of this attempt is answered any more.
    fn equivocated(&mut self, at: Attempt, out: &mut ClientEffects) {
        out.push(ClientEffect::Forget(at));
        self.fault(at, CoordinatorFault::Equivocation, out);
    }

    fn fault(&mut self, at: Attempt, what: CoordinatorFault, out: &mut ClientEffects) {
        self.round.take_if(|round| round.at == at);
        self.decline(Some(at.round), fault(what), out);
    }

    fn decline(&mut self, round: Option<u64>, reason: Decline, out: &mut ClientEffects) {
        if self.last_reason.is_empty() || !matches!(reason, Decline::CoordinatorFault(_)) {
            self.last_reason = reason.to_string();
        } else {
            self.last_reason = format!("{reason} ({})", self.last_reason);
        }
        out.push(ClientEffect::Send(Box::new(ToCoordinator::Declined { round, reason })));
    }

    fn erase(&mut self, out: &mut ClientEffects) {
        if let Some(round) = self.round.take() {
            out.push(ClientEffect::Forget(round.at));
        }
    }

    /// Journals a fact and applies it.
    fn commit(&mut self, record: ClientRecord, out: &mut ClientEffects) {
        if let Err(why) = self.facts.apply(&record, &self.coordinator_key) {
            panic!("invariant P1 broken: a new fact contradicts the journal: {why}");
        }
        out.push(ClientEffect::Persist(record));
    }
}

fn fault(what: CoordinatorFault) -> Decline {
    Decline::CoordinatorFault(what)
}

fn policy(refusal: &Refusal) -> Decline {
    Decline::Policy { code: refusal.code().into(), text: refusal.to_string() }
}
