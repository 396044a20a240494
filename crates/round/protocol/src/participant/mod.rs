//! A silo's side of a run: it verifies everything, and it says each thing once.

mod claims;
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
use crate::record::ClientRecord;
use claims::Claiming;
use facts::{Facts, RunFacts};
use interface::JobIds;
pub use interface::{
    ClaimAnswer, ClientEffect, ClientEffects, ClientInput, Debit, JobId, LedgerView, MaskJob,
    ParticipantError, ParticipantStatus, Profile, RosterOffer, TrainJob, TrainOutcome, Vector,
};
use messages::SessionVersion;
use messages::{Attempt, CoordinatorFault, Decline, OfRun, RunEnd, ToClient, ToCoordinator};
use round::{Round, Step};
pub use sets::Contradiction;
pub use steps::{StepJob, StepOutcome};
pub use witnesses::{WitnessState, Witnessed};

/// A silo in its federation's runs.
pub struct Participant {
    profile: Profile,
    /// The newest roster that this silo has accepted.
    roster: Arc<AuthorisedRoster>,
    /// What the journal says.
    facts: Facts,
    /// The runs that it takes part in.
    runs: BTreeMap<Digest, CurrentRun>,
    /// The run of the last welcome: that of whatever names none.
    welcomed: Option<Digest>,
    /// The newest welcome to each run that this session offers, to be answered again under another policy.
    welcomes: BTreeMap<Digest, (Box<SignedPlan>, Shown)>,
    /// The run of the input in hand: of what is written down and said for it.
    hand: Option<Digest>,
    /// Runs whose claims the shell has been asked for.
    claiming: BTreeMap<Digest, Claiming>,
    /// The attempt in progress, one over all runs: secrets, in memory only, never journalled.
    round: Option<Round>,
    jobs: JobIds,
    /// By run, the newest attempt that ended before its advert over what the coordinator said of it: nothing up to it is opened
    /// again. From the advert on the journal says so.
    closed: BTreeMap<Digest, Attempt>,
    last_reason: String,
    /// How the run ended that did so last.
    ended: Option<RunEnd>,
    /// A later roster, which the silo's operator has not accepted yet.
    offered: Option<Offered>,
    /// Other members that have cosigned the coordinator's audit log as this silo sees it, and when.
    cosigned: BTreeMap<ClientId, u64>,
    /// The record whose step the shell does again now, and its run.
    verifying: Option<(Digest, Digest)>,
    ledgers: Ledgers,
    /// What the session is spoken in: nothing later than this is said.
    version: SessionVersion,
    /// What the input in hand comes to, in its order; empty between two inputs.
    effects: ClientEffects,
}

/// What the shell said last of the data's ledger.
#[derive(Default)]
struct Ledgers {
    /// The wall clock's time then.
    wall: Option<Timestamp>,
    epsilon_spent: f64,
    by_run: BTreeMap<Digest, LedgerView>,
}

struct CurrentRun {
    plan: Arc<AuthoredPlan>,
    check_in: CheckIn,
    /// A record did not follow from the chain, and those before it were asked for.
    asked_again: bool,
    /// It was declined as a whole after it was joined, for what was spent since.
    refused: bool,
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
        job: JobId,
        commitment: Option<Digest>,
        not_before: Timestamp,
        until: Timestamp,
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
    roster: Shown,
    /// Of the roster.
    digest: Digest,
    /// The runs that the silo is welcomed to under it.
    waiting: BTreeMap<Digest, Box<SignedPlan>>,
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
            roster: Arc::new(roster),
            facts,
            runs: BTreeMap::new(),
            welcomed: None,
            welcomes: BTreeMap::new(),
            hand: None,
            claiming: BTreeMap::new(),
            round: None,
            jobs: JobIds::default(),
            closed: BTreeMap::new(),
            last_reason: String::new(),
            ended: None,
            offered: None,
            cosigned: BTreeMap::new(),
            verifying: None,
            ledgers: Ledgers::default(),
            version: SessionVersion::OLDEST,
            effects: ClientEffects::new(),
        })
    }

    /// The newest roster that this silo has accepted.
    pub fn current_roster(&self) -> &AuthorisedRoster {
        &self.roster
    }

    /// The run that a message is of: that of the last welcome where it names none.
    pub fn run_of<M>(&self, message: &OfRun<M>) -> Option<Digest> {
        message.run.or(self.welcomed)
    }

    /// The plan of a run that this silo takes part in.
    pub fn plan(&self, run: &Digest) -> Option<&AuthoredPlan> {
        self.runs.get(run).map(|run| run.plan.as_ref())
    }

    /// What the vector that this job made is debited under; `None` where it is not waited for, or was made from anything but
    /// what its masks are bound to: it is not debited then, and does not leave.
    pub fn debit_for(&self, job: JobId, origin: Origin) -> Option<Debit> {
        let round = self.round.as_ref().filter(|round| round.is_masked_by(job) && round.origin == origin)?;
        let Round { run, plan, at, model, .. } = round;
        self.check_plan(run, plan).ok()?;
        Some(Debit { run: *run, plan: Arc::clone(plan), at: *at, model: *model })
    }

    /// Whether [`ToClient::Open`] of this attempt would begin it, if the data's ledger and the policy agree. Only then need
    /// the ledger be read for it.
    pub fn would_begin(&self, run: &Digest, at: Attempt, model: Digest) -> bool {
        let Some((_, facts)) = self.taken_part_in(run) else { return false };
        self.round.as_ref().is_none_or(|round| !round.is(Some(*run), at))
            && facts.is_new(at)
            && !facts.is_past(at.round)
            && !facts.is_over
            && !self.is_closed(*run, at)
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
            ClientInput::Connected { version } => self.connected(version),
            ClientInput::Message(message) => self.message(now, rng, message),
            ClientInput::StepVerified { record, outcome } => self.step_verified(record, outcome),
            ClientInput::Trained { job, outcome } => self.trained(job, outcome),
            ClientInput::Masked { job, vector } => self.masked(now, job, vector),
            ClientInput::AcceptRoster { roster } => self.accept_roster(now, roster),
            ClientInput::Witnessed(seen) => self.witnessed(seen),
            ClientInput::ReadingBegun { job } => self.reading_begun(now, job),
            ClientInput::DataRead { job, commitment } => self.data_read(job, commitment),
            ClientInput::Claimed { run, answer } => self.claimed(now, run, answer),
            ClientInput::Ledger(view) => self.ledger_read(view),
            ClientInput::Policy(policy) => self.policy_changed(now, *policy),
            ClientInput::Tick => {}
        }
        self.check_in_when_due(now, rng);
        self.train_when_prepared(now, rng);
        self.advertise_when_ready(now, rng);
        self.hand = None;
        out.append(&mut self.effects);
    }

    fn connected(&mut self, version: SessionVersion) {
        self.version = version;
        self.welcomes.clear();
        if !version.names_runs() {
            self.leave_all_but(self.welcomed);
        }
    }

    /// A session in which messages name no run has one.
    fn leave_all_but(&mut self, only: Option<Digest>) {
        self.runs.retain(|run, _| Some(*run) == only);
        self.claiming.retain(|run, _| Some(*run) == only);
        self.welcomes.retain(|run, _| Some(*run) == only);
        if let Some(offered) = &mut self.offered {
            offered.waiting.retain(|run, _| Some(*run) == only);
        }
        self.erase_if(|round| Some(round.run) != only);
    }

    /// When [`ClientInput::Tick`] is due, if at all.
    pub fn deadline(&self) -> Option<Timestamp> {
        let checks_in = self.runs.values().filter_map(|run| match run.check_in {
            CheckIn::Held { not_before, .. } => Some(not_before),
            CheckIn::Reading { until, .. } => Some(until),
            CheckIn::Said => None,
        });
        let trained = self.round.as_ref().filter(|round| matches!(round.step, Step::Trained));
        let ready = trained.map(Round::ready_at);
        let waits = self.round.as_ref().and_then(|round| self.witnesses_by(round));
        checks_in.chain(ready).chain(waits).min()
    }

    /// What the silo's operator sees now.
    pub fn status(&self) -> ParticipantStatus {
        ParticipantStatus {
            runs: self.runs.keys().copied().collect(),
            round: self.round.as_ref().map(|round| round.at),
            state: match (&self.round, &self.ended) {
                (Some(round), _) => round.step.name(),
                (None, _) if !self.runs.is_empty() => "waiting for a round",
                (None, Some(_)) => "the run is over",
                (None, None) => "waiting to be welcomed",
            },
            uploads: self.facts.uploads,
            epsilon_spent: self
                .facts
                .epsilon(self.profile.policy.delta_max, None)
                .max(self.ledgers.epsilon_spent),
            last_reason: self.last_reason.clone(),
            ended: self.ended.clone().filter(|_| self.runs.is_empty()),
        }
    }

    fn message(&mut self, now: Timestamp, rng: &mut dyn CryptoRng, said: OfRun<ToClient>) {
        // Which run is in hand is decided here alone, before anything of the message is looked at.
        self.hand = self.run_of(&said);
        match said.message {
            ToClient::Welcome { run_id, plan, roster, between } => {
                self.hand = Some(run_id);
                if said.run.is_none() {
                    self.leave_all_but(Some(run_id));
                } else if said.run != Some(run_id) {
                    return self.decline(None, fault(CoordinatorFault::Plan));
                }
                let shown = Shown { roster, between };
                if self.keeps(run_id, &plan, &shown) {
                    self.welcomed = Some(run_id);
                    self.welcome(now, run_id, plan, shown);
                }
            }
            ToClient::Published(signed) => self.published(signed),
            ToClient::Open { at, model } => self.open(now, at, model),
            ToClient::Adverts { at, adverts } => self.adverts(rng, at, adverts),
            ToClient::Deliver { at, delivery } => self.deliver(rng, at, delivery),
            ToClient::UploadDurable { at } => {
                if let Some(round) = self.round.as_mut().filter(|round| round.is(self.hand, at))
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
                if self.round.as_ref().is_some_and(|round| round.is(self.hand, at)) {
                    self.last_reason = format!("round {} was aborted: {outcome}", at.round);
                    self.erase();
                }
            }
            ToClient::Rejected { rejection } => {
                self.last_reason = format!("the coordinator refused a message: {rejection}");
            }
            ToClient::Finished { reason } => {
                self.ended = Some(reason);
                if let Some(run) = self.hand {
                    if self.facts.run(&run).is_some_and(|facts| !facts.is_over) {
                        self.commit(ClientRecord::RunOver);
                    }
                    self.welcomes.remove(&run);
                    self.leave(&run);
                    self.claiming.remove(&run);
                    self.effects.push(ClientEffect::ReturnClaim { run });
                    if let Some(offered) = &mut self.offered {
                        offered.waiting.remove(&run);
                    }
                }
            }
        }
    }

    /// Takes part in the run no more, unless it is welcomed to it again.
    fn leave(&mut self, run: &Digest) {
        self.runs.remove(run);
        self.erase_if(|round| round.run == *run);
    }

    /// Takes the attempt's secrets out to work on them; whoever does not put them back has erased them.
    fn take_round(&mut self, at: Attempt) -> Option<Round> {
        if let Some(round) = self.round.take_if(|round| round.is(self.hand, at)) {
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
        let hand = self.hand;
        self.erase_if(|round| round.is(hand, at));
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
        self.erase_if(|_| true);
    }

    fn erase_if(&mut self, is_over: impl FnOnce(&Round) -> bool) {
        if let Some(round) = self.round.take_if(|round| is_over(round)) {
            self.effects.push(ClientEffect::Forget(round.work));
        }
    }

    /// Says it in the run in hand.
    fn say(&mut self, message: ToCoordinator) {
        let said = self.of_hand(message);
        self.effects.push(ClientEffect::Send(Box::new(said)));
    }

    /// As it leaves in the run in hand.
    fn of_hand<M>(&self, message: M) -> OfRun<M> {
        OfRun { run: self.hand.filter(|_| self.version.names_runs()), message }
    }

    /// The run in hand, and what the journal says of it; `None` where this silo does not take part in it.
    fn run_in_hand(&self) -> Option<(&CurrentRun, &RunFacts)> {
        self.taken_part_in(&self.hand?)
    }

    fn taken_part_in(&self, run: &Digest) -> Option<(&CurrentRun, &RunFacts)> {
        self.runs.get(run).map(|taken| (taken, self.facts.joined_run(run)))
    }

    /// Journals a fact, of the run in hand where it is one of a run's, and applies it.
    fn commit(&mut self, record: ClientRecord) {
        if record.is_of_a_run() && self.facts.current_run() != self.hand {
            let Some(run_id) = self.hand else { invariant!("P1", "a run's fact of no run: {record:?}") };
            self.join(run_id, self.facts.joined_run(&run_id).plan);
        }
        self.write(record);
    }

    /// What is journalled from here on is of this run.
    fn join(&mut self, run_id: Digest, plan: Digest) {
        let roster_epoch = self.roster.epoch;
        self.write(ClientRecord::Joined { run_id, plan, roster_epoch });
    }

    fn write(&mut self, record: ClientRecord) {
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
