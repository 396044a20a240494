//! A silo's side of a run: it verifies everything, and it says each thing once.

mod exchange;
mod facts;
mod interface;
mod joining;
mod rosters;
mod round;
mod sets;
mod steps;
mod witnesses;

use std::collections::BTreeMap;
use std::sync::Arc;

use identity::{AuthorisedRoster, SignedRoster};
use params::Digest;
use plan::{AuthoredPlan, Origin, Refusal, SignedPlan};
use rand_core::CryptoRng;
use secagg::ClientId;

use crate::Timestamp;
use crate::invariant::invariant;
use crate::message::{Attempt, CoordinatorFault, Decline, RunEnd, ToClient, ToCoordinator};
use crate::record::ClientRecord;
use crate::version::SessionVersion;
use facts::{Facts, RunFacts};
use interface::JobIds;
pub use interface::{
    ClientEffect, ClientEffects, ClientInput, Debit, JobId, LedgerView, MaskJob, ParticipantError,
    ParticipantStatus, Profile, RosterOffer, TrainJob, TrainOutcome, Vector,
};
use round::{Round, Step};
pub use sets::Contradiction;
pub use steps::{StepJob, StepOutcome};
pub use witnesses::{WitnessState, Witnessed};

/// A silo in a run.
pub struct Participant {
    profile: Profile,
    /// The newest roster that this silo has accepted.
    roster: AuthorisedRoster,
    /// What the journal says.
    facts: Facts,
    /// The run of this session.
    run: Option<CurrentRun>,
    /// The attempt in progress: secrets, in memory only, never journalled.
    round: Option<Round>,
    jobs: JobIds,
    /// By run, the newest attempt that ended before its advert over what the coordinator said of it: nothing up to it is opened
    /// again. From the advert on the journal says so.
    closed: BTreeMap<Digest, Attempt>,
    last_reason: String,
    ended: Option<RunEnd>,
    /// A record did not follow from the chain, and those before it were asked for.
    asked_again: bool,
    /// A welcome under a later roster, which the silo's operator has not accepted yet.
    offered: Option<Offered>,
    /// Other members that have cosigned the coordinator's audit log as this silo sees it, and when.
    cosigned: BTreeMap<ClientId, u64>,
    /// The record whose step the shell does again now.
    verifying: Option<Digest>,
    /// What the shell said last of the data's ledger.
    ledger: LedgerView,
    /// What the session is spoken in: nothing later than this is said.
    version: SessionVersion,
    /// What the input in hand comes to, in its order; empty between two inputs.
    effects: ClientEffects,
}

struct CurrentRun {
    id: Digest,
    plan: Arc<AuthoredPlan>,
    check_in: CheckIn,
}

/// Whether the silo has checked in to the run.
///
/// # Privacy
/// How long the data took to read tells how much there is: the check-in waits as long as "ready" does in a round, and no
/// longer for data that is not read by then. In a mode that promises something about records, it says a word in any case,
/// which is fixed at that moment, whatever came of the reading.
#[derive(Clone, Copy)]
enum CheckIn {
    /// The data is read, by this job.
    Reading {
        job: JobId,
        not_before: Timestamp,
        /// Then it is said without it.
        until: Timestamp,
    },
    /// It was, and the time has not come.
    Held {
        commitment: Option<Digest>,
        not_before: Timestamp,
    },
    Said,
}

/// A roster as a welcome shows it.
#[derive(Clone)]
struct Shown {
    roster: Box<SignedRoster>,
    /// Those that lead to it.
    between: Vec<SignedRoster>,
}

struct Offered {
    run_id: Digest,
    plan: Box<SignedPlan>,
    roster: Shown,
    /// Of the roster.
    digest: Digest,
    /// By the operator: that a coordinator says it again is no answer.
    accepted: bool,
}

impl Participant {
    /// The silo as its journal left it. The secrets of a round in progress are gone: it sits that round out.
    ///
    /// # Errors
    /// [`ParticipantError`]
    pub fn recover(profile: Profile, journal: &[ClientRecord]) -> Result<Self, ParticipantError> {
        // A roster names the same coordinator key as those before it, so the records verify under the pinned one's.
        let coordinator_key = profile.roster.coordinator();
        let mut facts = Facts::of(profile.id);
        for (index, record) in journal.iter().enumerate() {
            facts
                .apply(record, &coordinator_key)
                .map_err(|why| ParticipantError::Journal { index, why: why.to_string() })?;
        }
        let roster = newest_roster(&profile, &facts)?;
        profile.check_against(&roster)?;
        Ok(Self {
            profile,
            roster,
            facts,
            run: None,
            round: None,
            jobs: JobIds::default(),
            closed: BTreeMap::new(),
            last_reason: String::new(),
            ended: None,
            asked_again: false,
            offered: None,
            cosigned: BTreeMap::new(),
            verifying: None,
            ledger: LedgerView::default(),
            version: SessionVersion::OLDEST,
            effects: ClientEffects::new(),
        })
    }

    /// The newest roster that this silo has accepted.
    pub fn current_roster(&self) -> &AuthorisedRoster {
        &self.roster
    }

    /// The plan of the run of this session, once welcomed.
    pub fn plan(&self) -> Option<&AuthoredPlan> {
        self.run.as_ref().map(|run| run.plan.as_ref())
    }

    /// What the session is spoken in.
    pub fn session_version(&self) -> SessionVersion {
        self.version
    }

    /// What is declared of the data's version in the run of this session, once that is fixed.
    pub fn data_declared(&self) -> Option<Digest> {
        let run = self.run.as_ref()?;
        self.facts.joined_run(&run.id).declared.flatten().filter(|_| self.profile.declares_data)
    }

    /// What the vector that this job made is debited under; `None` where it is not waited for, or was made from anything but
    /// what its masks are bound to: it is not debited then, and does not leave.
    pub fn debit_for(&self, job: JobId, origin: Origin) -> Option<Debit> {
        let round = self.round.as_ref().filter(|round| round.is_masked_by(job) && round.origin == origin)?;
        let Round { run, plan, at, model, .. } = round;
        self.check_plan(plan).ok()?;
        Some(Debit { run: *run, plan: Arc::clone(plan), at: *at, model: *model })
    }

    /// Whether [`ToClient::Open`] of this attempt would begin it, if the data's ledger and the policy agree. Only then need
    /// the ledger be read for it.
    pub fn would_begin(&self, at: Attempt, model: Digest) -> bool {
        let Some((run, facts)) = self.current_run() else { return false };
        self.round.as_ref().is_none_or(|round| round.at != at)
            && facts.is_new(at)
            && !facts.is_past(at.round)
            && !self.is_closed(run.id, at)
            && facts.head.as_ref().is_some_and(|head| head.model.params_digest == model)
    }

    fn is_closed(&self, run: Digest, at: Attempt) -> bool {
        self.closed.get(&run).is_some_and(|closed| at <= *closed)
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
            ClientInput::Connected { version } => self.version = version,
            ClientInput::Message(message) => self.message(now, rng, message),
            ClientInput::StepVerified { record, outcome } => self.step_verified(record, outcome),
            ClientInput::Trained { job, outcome } => self.trained(job, outcome),
            ClientInput::Masked { job, vector } => self.masked(now, job, vector),
            ClientInput::AcceptRoster { roster } => self.accept_roster(now, roster),
            ClientInput::Witnessed(seen) => self.witnessed(seen),
            ClientInput::DataRead { job, commitment } => self.data_read(job, commitment),
            ClientInput::Ledger(view) => {
                self.ledger = view;
                self.leave_to_others();
            }
            ClientInput::Tick => {}
        }
        self.check_in_when_due(now, rng);
        self.train_when_prepared(now, rng);
        self.advertise_when_ready(now, rng);
        out.append(&mut self.effects);
    }

    /// When [`ClientInput::Tick`] is due, if at all.
    pub fn deadline(&self) -> Option<Timestamp> {
        let run = self.run.as_ref()?;
        let checks_in = match run.check_in {
            CheckIn::Held { not_before, .. } => Some(not_before),
            CheckIn::Reading { until, .. } => Some(until),
            CheckIn::Said => None,
        };
        let trained = self.round.as_ref().filter(|round| matches!(round.step, Step::Trained));
        let ready = trained.map(Round::ready_at);
        let waits = self.round.as_ref().and_then(|round| self.witnesses_by(round));
        checks_in.into_iter().chain(ready).chain(waits).min()
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
            epsilon_spent: self
                .facts
                .epsilon(self.profile.policy.delta_max, None)
                .max(self.ledger.epsilon_spent),
            last_reason: self.last_reason.clone(),
            ended: self.ended.clone(),
        }
    }

    fn message(&mut self, now: Timestamp, rng: &mut dyn CryptoRng, message: ToClient) {
        match message {
            ToClient::Welcome { run_id, plan, roster, between } => {
                self.welcome(now, run_id, plan, Shown { roster, between });
            }
            ToClient::Published(signed) => self.published(signed),
            ToClient::Open { at, model } => self.open(now, at, model),
            ToClient::Adverts { at, adverts } => self.adverts(rng, at, adverts),
            ToClient::Deliver { at, delivery } => self.deliver(rng, at, delivery),
            ToClient::UploadDurable { at } => {
                if let Some(round) = self.round.as_mut().filter(|round| round.at == at)
                    && round.upload_is_durable()
                {
                    self.effects.push(ClientEffect::Forget(round.work));
                }
            }
            ToClient::Included { at, included } => self.included(at, included),
            ToClient::UnmaskRequest { at, included, signatures } => {
                self.unmask(at, included, &signatures);
            }
            ToClient::Aborted { at, outcome } => {
                if self.round.as_ref().is_some_and(|round| round.at == at) {
                    self.last_reason = format!("round {} was aborted: {outcome}", at.round);
                    self.erase();
                }
            }
            ToClient::Rejected { rejection } => {
                self.last_reason = format!("the coordinator refused a message: {rejection}");
            }
            ToClient::Finished { reason } => {
                self.ended = Some(reason);
                self.erase();
            }
        }
    }

    /// Takes the attempt's secrets out to work on them; whoever does not put them back has erased them.
    fn take_round(&mut self, at: Attempt) -> Option<Round> {
        if let Some(round) = self.round.take_if(|round| round.at == at) {
            return Some(round);
        }
        self.decline(Some(at.round), Decline::SitsOut);
        None
    }

    /// Two different messages of one step, in an attempt whose secrets were taken out: nothing of it is answered any more.
    fn equivocated(&mut self, at: Attempt, work: JobId) {
        self.given_up(at, work, CoordinatorFault::Equivocation);
    }

    /// An attempt whose secrets were taken out ends: what the shell holds of it goes too.
    fn given_up(&mut self, at: Attempt, work: JobId, what: CoordinatorFault) {
        self.effects.push(ClientEffect::Forget(work));
        self.decline(Some(at.round), fault(what));
    }

    /// The same, with what was wrong in words for this silo's operator.
    fn deceived(&mut self, at: Attempt, work: JobId, what: CoordinatorFault, why: &dyn ToString) {
        self.last_reason = why.to_string();
        self.given_up(at, work, what);
    }

    fn fault(&mut self, at: Attempt, what: CoordinatorFault) {
        if let Some(round) = self.round.take_if(|round| round.at == at) {
            self.effects.push(ClientEffect::Forget(round.work));
        }
        self.decline(Some(at.round), fault(what));
    }

    fn decline(&mut self, round: Option<u64>, reason: Decline) {
        self.last_reason = match reason {
            // The numbers are there already, and leave in no message.
            Decline::Policy { .. } | Decline::AwaitsOperator(_) => std::mem::take(&mut self.last_reason),
            Decline::CoordinatorFault(_) if !self.last_reason.is_empty() => {
                format!("{reason} ({})", self.last_reason)
            }
            _ => reason.to_string(),
        };
        self.say(ToCoordinator::Declined { round, reason });
    }

    /// The code of a refusal, to be said. The whole of it stays in this silo's own log: it tells what the data has spent elsewhere.
    fn policy(&mut self, refusal: &Refusal) -> Decline {
        self.last_reason = format!("{}: {refusal}", refusal.rule());
        Decline::by_policy(refusal.kind())
    }

    fn refuse(&mut self, round: Option<u64>, refusal: &Refusal) {
        let reason = self.policy(refusal);
        self.decline(round, reason);
    }

    fn erase(&mut self) {
        if let Some(round) = self.round.take() {
            self.effects.push(ClientEffect::Forget(round.work));
        }
    }

    fn say(&mut self, message: ToCoordinator) {
        self.effects.push(ClientEffect::Send(Box::new(message)));
    }

    /// The run of this session, and what the journal says of it.
    fn current_run(&self) -> Option<(&CurrentRun, &RunFacts)> {
        self.run.as_ref().map(|run| (run, self.facts.joined_run(&run.id)))
    }

    /// Journals a fact and applies it.
    fn commit(&mut self, record: ClientRecord) {
        if let Err(why) = self.facts.apply(&record, &self.roster.coordinator()) {
            invariant!("P1", "a new fact contradicts the journal: {why}");
        }
        self.effects.push(ClientEffect::Persist(record));
    }
}

impl Profile {
    /// Whether a participant without a journal could begin with it.
    ///
    /// # Errors
    /// [`ParticipantError`].
    pub fn check(&self) -> Result<(), ParticipantError> {
        self.check_against(&self.roster)
    }

    fn check_against(&self, roster: &AuthorisedRoster) -> Result<(), ParticipantError> {
        match roster.keys().get(&self.id) {
            None => Err(ParticipantError::NotAMember(self.id)),
            Some(key) if *key != self.identity.public() => Err(ParticipantError::OtherKey(self.id)),
            Some(_) => Ok(()),
        }
    }
}

/// The later one of the configured roster and the journal's.
fn newest_roster(profile: &Profile, facts: &Facts) -> Result<AuthorisedRoster, ParticipantError> {
    let pinned = &profile.roster;
    let roster = match &facts.roster {
        Some(adopted) => {
            let adopted = adopted
                .clone()
                .authorise(&profile.authority)
                .map_err(|why| ParticipantError::Roster(why.to_string()))?;
            if adopted.epoch == pinned.epoch && adopted.digest() != pinned.digest() {
                let epoch = adopted.epoch;
                let [pinned, adopted] = [pinned, &adopted].map(|roster| roster.digest().to_string());
                return Err(ParticipantError::ForkedRoster { epoch, pinned, adopted });
            }
            if adopted.epoch > pinned.epoch { adopted } else { pinned.clone() }
        }
        None => pinned.clone(),
    };
    if facts.roster_epoch > roster.epoch {
        return Err(ParticipantError::OlderRoster { pinned: pinned.epoch, seen: facts.roster_epoch });
    }
    Ok(roster)
}

fn fault(what: CoordinatorFault) -> Decline {
    Decline::CoordinatorFault(what)
}
