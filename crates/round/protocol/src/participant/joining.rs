//! From the welcome to the advert: the run, its chain, the budget, training.

use std::sync::Arc;

use accounting::{OverBudget, OverPeriod, Unit};
use checkpoint::SignedManifest;
use ed25519_dalek::VerifyingKey;
use params::Digest;
use plan::{AuthoredPlan, Period, Plan, Policy, Refusal, SignedPlan};
use rand_core::CryptoRng;
use secagg::{Advertised, RoundBinding};

use super::round::Step;
use super::{CheckIn, ClientEffect, CurrentRun, JobId, LedgerView, Participant, Shown, TrainOutcome, fault};
use crate::Timestamp;
use crate::record::ClientRecord;
use crate::server_step::names_state;
use messages::{Attempt, CoordinatorFault, Decline, ToCoordinator};

/// Runs that one session shows a silo, of which it keeps the welcomes: more than a coordinator has open, and fewer than fill a memory.
const RUNS_SHOWN_MAX: usize = 128;

impl Participant {
    /// Keeps a welcome, to answer it again under another policy. Whether there is room: nothing of it is verified yet.
    pub(super) fn keeps(&mut self, run: Digest, plan: &SignedPlan, shown: &Shown) -> bool {
        let has_room = self.welcomes.len() < RUNS_SHOWN_MAX || self.welcomes.contains_key(&run);
        if has_room {
            self.welcomes.insert(run, (Box::new(plan.clone()), shown.clone()));
        } else {
            self.last_reason = format!("more than {RUNS_SHOWN_MAX} runs are shown in one session");
        }
        has_room
    }

    pub(super) fn welcome(&mut self, now: Timestamp, run_id: Digest, plan: Box<SignedPlan>, roster: Shown) {
        let before = self.runs.remove(&run_id).map(|run| run.check_in);
        self.ended = None;
        let admitted =
            self.admit_roster(run_id, &plan, &roster).and_then(|()| self.admit_plan(run_id, *plan));
        let plan = match admitted {
            Ok(plan) => plan,
            Err(reason) => {
                self.leave(&run_id);
                return self.decline(None, reason);
            }
        };
        if self.facts.run(&run_id).is_some_and(|facts| facts.is_over) {
            // It hears what it missed, and how the run ended: nothing that a claim would be for.
            return self.joined(now, run_id, Arc::new(plan), before);
        }
        self.ask_for_claim(now, run_id, plan, before);
    }

    /// What the run may cost is claimed.
    pub(super) fn joined(
        &mut self,
        now: Timestamp,
        run_id: Digest,
        plan: Arc<AuthoredPlan>,
        before: Option<CheckIn>,
    ) {
        let is_new = self.facts.run(&run_id).is_none();
        // Where messages name their runs, what is next to be written down of this one says so.
        if is_new || !self.version.names_runs() && self.facts.current_run() != Some(run_id) {
            self.join(run_id, plan.digest());
        }
        self.note_plan(&run_id, &plan);
        let is_over = self.facts.joined_run(&run_id).is_over;
        let fixed = self.facts.joined_run(&run_id).declared.is_some();
        let check_in = match before {
            // What was begun for an earlier welcome serves this one.
            Some(waits @ (CheckIn::Reading { .. } | CheckIn::Held { .. })) => waits,
            // What was declared once is declared again whatever the data is by now, nor is it read for an attempt in progress or for a
            // run that is over.
            _ if fixed || is_over || self.is_in_a_round_of(&run_id) || !self.profile.declares_data => {
                self.check_in(&run_id);
                CheckIn::Said
            }
            _ => {
                let job = self.jobs.draw();
                let (not_before, until) = self.reading_times(now, job, &plan);
                self.effects.push(ClientEffect::ReadData { job, run: run_id, plan: Arc::clone(&plan) });
                CheckIn::Reading { job, not_before, until }
            }
        };
        self.runs.insert(run_id, CurrentRun { plan, check_in, asked_again: false, refused: false });
        self.catch_up();
    }

    /// What was declined is answered again under the policy in force from now on; a run that it does not allow any more is left, at
    /// once where nothing was uploaded in the attempt in progress.
    pub(super) fn policy_changed(&mut self, now: Timestamp, policy: Policy) {
        self.profile.policy = policy;
        let refused = |(id, run): (&Digest, &CurrentRun)| {
            self.profile.policy.check(&run.plan).err().map(|refusal| (*id, refusal))
        };
        let refused: Vec<(Digest, Refusal)> = self.runs.iter().filter_map(refused).collect();
        let waits =
            |run: &Digest| self.offered.as_ref().is_some_and(|offered| offered.waiting.contains_key(run));
        let is_refused = |run: &Digest| self.runs.get(run).is_none_or(|run| run.refused);
        let declined = |(run, _): &(&Digest, &(Box<SignedPlan>, Shown))| is_refused(run) && !waits(run);
        let declined: Vec<_> =
            self.welcomes.iter().filter(declined).map(|(run, shown)| (*run, shown.clone())).collect();
        for (run, refusal) in refused {
            self.hand = Some(run);
            self.leave(&run);
            self.effects.push(ClientEffect::ReturnClaim { run });
            self.refuse(None, &refusal);
        }
        for (run, (plan, shown)) in declined {
            self.hand = Some(run);
            self.welcome(now, run, plan, shown);
        }
    }

    /// Writes down what of a run's plan the journal has to say later, unless it says so: a crash may have kept that the run was joined,
    /// and no more.
    fn note_plan(&mut self, run: &Digest, plan: &Plan) {
        let facts = self.facts.joined_run(run);
        let (noted, is_noted) = (facts.rounds_before, facts.is_about_persons);
        let rounds = plan.rounds_before();
        if rounds > noted {
            self.commit(ClientRecord::RoundsBefore { rounds });
        }
        if plan.unit() == Some(Unit::Person) && !is_noted {
            self.commit(ClientRecord::AboutPersons);
        }
    }

    fn is_in_a_round_of(&self, run: &Digest) -> bool {
        self.round.as_ref().is_some_and(|round| round.run == *run)
    }

    pub(super) fn data_read(&mut self, id: JobId, commitment: Option<Digest>) {
        for run in self.runs.values_mut() {
            if let CheckIn::Reading { job, not_before, until } = run.check_in
                && job == id
            {
                run.check_in = CheckIn::Held { job, commitment, not_before, until };
            }
        }
    }

    /// The time that the plan gives counts from here on: what this silo wrote down on joining, and what its ledger took, is not
    /// of the reading.
    pub(super) fn reading_begun(&mut self, now: Timestamp, id: JobId) {
        let begun = |run: &&CurrentRun| matches!(run.check_in, CheckIn::Reading { job, .. } if job == id);
        let Some(plan) = self.runs.values().find(begun).map(|run| Arc::clone(&run.plan)) else { return };
        let (not_before, until) = self.reading_times(now, id, &plan);
        for run in self.runs.values_mut() {
            if matches!(run.check_in, CheckIn::Reading { job, .. } if job == id) {
                run.check_in = CheckIn::Reading { job: id, not_before, until };
            }
        }
    }

    /// When a reading that is asked for now may be spoken of, and until when it is waited for.
    ///
    /// # Privacy
    /// A silo's tables are read one after another, so a reading has its time from when the ones before it have had theirs. It is
    /// not counted from when they ended: that would tell of the data.
    fn reading_times(&self, now: Timestamp, id: JobId, plan: &Plan) -> (Timestamp, Timestamp) {
        let earlier = self.runs.values().filter_map(|run| match run.check_in {
            CheckIn::Reading { job, until, .. } | CheckIn::Held { job, until, .. } if job < id => Some(until),
            _ => None,
        });
        let from = earlier.max().map_or(now, |until| until.max(now));
        let not_before = if plan.timing.ready_after_ms == 0 { now } else { from };
        (not_before.plus_ms(plan.timing.ready_after_ms), from.plus_ms(plan.timing.training_limit_ms()))
    }

    pub(super) fn check_in_when_due(&mut self, now: Timestamp, rng: &mut dyn CryptoRng) {
        let due = |(id, run): (&Digest, &CurrentRun)| match run.check_in {
            CheckIn::Held { commitment, not_before, .. } if now >= not_before => {
                Some((*id, commitment, false))
            }
            // Said later, it would show how long the data took to read.
            CheckIn::Reading { until, .. } if now >= until => Some((*id, None, true)),
            _ => None,
        };
        let due: Vec<_> = self.runs.iter().filter_map(due).collect();
        for (run, commitment, late) in due {
            self.declare_and_check_in(run, commitment, late, rng);
        }
    }

    fn declare_and_check_in(
        &mut self,
        id: Digest,
        commitment: Option<Digest>,
        late: bool,
        rng: &mut dyn CryptoRng,
    ) {
        self.hand = Some(id);
        let Some(run) = self.runs.get_mut(&id) else { return };
        let promises = run.plan.promises();
        run.check_in = CheckIn::Said;
        // Here and not when the data was read, so that each case writes at the same moment.
        let fixed = match commitment {
            Some(commitment) => Some(ClientRecord::DataCommitted { commitment: Some(commitment) }),
            // To say nothing would show a row that made the reading fail, or of one before it hang.
            None if promises => {
                let mut word = [0; 32];
                rng.fill_bytes(&mut word);
                Some(ClientRecord::DataNotDeclared { word: Digest::from_bytes(word) })
            }
            None => late.then_some(ClientRecord::DataCommitted { commitment: None }),
        };
        if let Some(fixed) = fixed {
            self.commit(fixed);
        }
        self.check_in(&id);
    }

    fn check_in(&mut self, run: &Digest) {
        let facts = self.facts.joined_run(run);
        let data = facts.declared.flatten().filter(|_| self.profile.declares_data);
        let sandbox = self.profile.sandbox.clone();
        self.say(ToCoordinator::CheckIn { head: facts.head_round(), data, sandbox });
    }

    /// The plan, if this silo takes part in the run.
    fn admit_plan(&mut self, run_id: Digest, plan: SignedPlan) -> Result<AuthoredPlan, Decline> {
        let plan = plan.open().map_err(|why| {
            self.last_reason = why.to_string();
            fault(CoordinatorFault::Plan)
        })?;
        if self.facts.run(&run_id).is_some_and(|facts| facts.plan != plan.digest()) {
            return Err(fault(CoordinatorFault::Plan));
        }
        let federation = &self.roster.federation;
        let allowed = plan.check_federation(federation).and_then(|()| self.profile.policy.check(&plan));
        allowed.and_then(|()| self.check_rounds_before(&plan)).map_err(|refusal| self.policy(&refusal))?;
        Ok(plan)
    }

    /// Holds what a plan states of the rounds before it against the run that it goes on from, where this silo took part in that.
    /// Elsewhere the number is its author's word, and the coordinator's to check.
    fn check_rounds_before(&self, plan: &Plan) -> Result<(), Refusal> {
        let seen = plan.parent.and_then(|parent| self.facts.run(&parent.run));
        seen.map_or(Ok(()), |run| plan.check_rounds_before(run.rounds_before))
    }

    pub(super) fn published(&mut self, signed: SignedManifest) {
        let Some(id) = self.hand else { return };
        let Some((run, facts)) = self.run_in_hand() else { return };
        if facts.holds(&signed) {
            return;
        }
        let follows = facts.check_next(&signed, &id).ok().filter(|manifest| {
            // Version 0 is public: anyone can recompute it, or the author has signed which it is, so no silo starts from another
            // one, nor in the middle. Its state is the plan's too.
            let first = facts.head_round().is_none();
            first == (manifest.round == 0)
                && (!first || manifest.model.params_digest == run.plan.starts_from())
                && names_state(&run.plan, manifest)
        });
        let Some(manifest) = follows else {
            // Those between may be lost or still on their way; a coordinator of two chains has none to say.
            let said = matches!(run.check_in, CheckIn::Said);
            if facts.misses_some_before(&signed) && !self.asks_again(&id, true) {
                // Where the check-in is still to come, it asks.
                if said {
                    self.check_in(&id);
                }
                return;
            }
            return self.decline(None, fault(CoordinatorFault::Chain));
        };
        if let Some(contradiction) = self.contradiction(&signed, &manifest) {
            // Kept before a word of it is said.
            self.erase();
            self.effects.push(ClientEffect::Contradiction(Box::new(contradiction)));
            return self.decline(None, fault(CoordinatorFault::Chain));
        }
        self.asks_again(&id, false);
        self.commit(ClientRecord::ChainHead(signed));
        self.leave_passed();
        self.catch_up();
    }

    /// Whether records were asked for before; from here on they were, or were not.
    fn asks_again(&mut self, run: &Digest, asks: bool) -> bool {
        self.runs.get_mut(run).is_some_and(|run| std::mem::replace(&mut run.asked_again, asks))
    }

    /// Gives up the attempt in progress where the chain has passed its round, or its model is out of use by now. After the
    /// upload there is nothing left to withhold but a signature: a set that is signed behind its round's record is held
    /// against no record. What was signed before was, and is answered for as in any attempt.
    fn leave_passed(&mut self) {
        let of_the_run = self.round.as_ref().filter(|round| Some(round.run) == self.hand);
        let Some(((_, facts), round)) = self.run_in_hand().zip(of_the_run) else { return };
        let number = round.at.round;
        let why = if round.step.before_upload() && facts.is_quarantined(&round.model) {
            format!("the model that round {number} trains on was quarantined")
        } else if !round.step.has_signed() && facts.is_past(number) {
            format!("round {number} is over: the chain has a record of it or of a later one")
        } else {
            return;
        };
        self.last_reason = why;
        self.erase();
    }

    pub(super) fn open(&mut self, now: Timestamp, at: Attempt, model: Digest) {
        if let Some(round) = &self.round
            && round.is(self.hand, at)
        {
            if round.model != model {
                self.closed.insert(round.run, at);
                self.fault(at, CoordinatorFault::Equivocation);
            } else if let Some(advert) = round.advert() {
                let again = ToCoordinator::Advertise { at, advert: advert.clone() };
                self.say(again);
            }
            return;
        }
        let Some(run) = self.hand else { return };
        let Some((taken, facts)) = self.run_in_hand() else { return };
        let ledger_knows = self.ledger(&run).is_some_and(|view| {
            view.round.is_some_and(|round| at.round <= round) || view.rounds_of_others.contains(&at.round)
        });
        let is_past = facts.is_past(at.round) || facts.is_over;
        if !facts.is_new(at) || is_past || ledger_knows || self.is_closed(run, at) {
            // Its secrets are gone, as this process began after the attempt did, or it was declined before; or its record is
            // there already, and nothing that is seen and signed in it now could be held against that.
            return self.decline(Some(at.round), Decline::SitsOut);
        }
        if facts.is_quarantined(&model) {
            return self.fault(at, CoordinatorFault::Quarantined);
        }
        let Some(head) = facts.head.as_ref().filter(|head| head.model.params_digest == model).cloned() else {
            return self.fault(at, CoordinatorFault::Model);
        };
        let plan = Arc::clone(&taken.plan);
        if let Err(refusal) = self.check_moment(&run, &plan, self.wall(now)) {
            self.closed.insert(run, at);
            return self.refuse(Some(at.round), &refusal);
        }
        let allowed = self.check_budget(&run, &plan, model).and_then(|()| self.check_plan(&run, &plan));
        if let Err(refusal) = allowed {
            return self.refuse_from_now(&run, &refusal);
        }
        self.prepare(now, at, head);
    }

    /// Declines the run as a whole, though it was joined: like one that never was, it is answered again under another policy.
    pub(super) fn refuse_from_now(&mut self, run: &Digest, refusal: &Refusal) {
        if let Some(taken) = self.runs.get_mut(run) {
            taken.refused = true;
        }
        self.refuse(None, refusal);
    }

    pub(super) fn ledger_read(&mut self, view: LedgerView) {
        self.ledgers.wall = view.wall;
        self.ledgers.epsilon_spent = view.epsilon_spent;
        let Some(run) = view.run.or(self.welcomed) else { return };
        self.ledgers.by_run.insert(run, view);
        self.hand = Some(run);
        self.leave_to_others(&run);
    }

    /// What the shell said last of the data's ledger and this run.
    pub(super) fn ledger(&self, run: &Digest) -> Option<&LedgerView> {
        self.ledgers.by_run.get(run)
    }

    /// Declines the run as a whole where another silo of the roster is in it with the same data.
    fn leave_to_others(&mut self, run: &Digest) {
        let Some(view) = self.ledger(run) else { return };
        let is_theirs = |key: &VerifyingKey| view.before.contains(key.as_bytes());
        if self.runs.contains_key(run) && self.roster.keys().values().any(is_theirs) {
            self.leave(run);
            self.refuse(None, &Refusal::SharedData);
        }
    }

    /// The wall clock's time, as the shell said it last.
    pub(super) fn wall(&self, now: Timestamp) -> Timestamp {
        self.ledgers.wall.unwrap_or(now)
    }

    /// Whether this silo takes part at this moment: what a later round may find otherwise.
    fn check_moment(&self, run: &Digest, plan: &Plan, wall: Timestamp) -> Result<(), Refusal> {
        let policy = &self.profile.policy;
        if let Some(hours) = policy.hours.filter(|hours| !hours.contain(wall.0)) {
            return Err(Refusal::Hours { hours });
        }
        if let Some(refusal @ Refusal::PeriodSpent(_)) = self.refused_by_ledger(run) {
            return Err(refusal.clone());
        }
        if let (Some(period), Some(event)) = (policy.period, plan.event()) {
            let after = self.facts.epsilon_since(period, wall, policy.delta_max, &event);
            if after > period.epsilon_max {
                let Period { days, epsilon_max: limit } = period;
                return Err(Refusal::PeriodSpent(OverPeriod { after, limit, days }));
            }
        }
        Ok(())
    }

    fn refused_by_ledger(&self, run: &Digest) -> Option<&Refusal> {
        self.ledger(run).and_then(|view| view.refusal.as_ref())
    }

    /// Whether this silo's data may be used once more.
    fn check_budget(&self, run: &Digest, plan: &Plan, model: Digest) -> Result<(), Refusal> {
        let Some(event) = plan.event() else {
            let own = self.facts.uploads_on_in(&model, run);
            return self.profile.policy.check_repeats_in_run(own, self.facts.uploads_on(&model));
        };
        if let Some(refusal) =
            self.refused_by_ledger(run).filter(|why| !matches!(why, Refusal::PeriodSpent(_)))
        {
            return Err(refusal.clone());
        }
        let policy = &self.profile.policy;
        let composed = self.facts.epsilon(policy.delta_max, Some(&event));
        if composed > policy.epsilon_max {
            return Err(Refusal::BudgetSpent(OverBudget { after: composed, limit: policy.epsilon_max }));
        }
        Ok(())
    }

    /// Whether anything more may be uploaded under the plan, whatever run it is shown under and whatever number a round has:
    /// both are the coordinator's to invent.
    pub(super) fn check_plan(&self, run: &Digest, plan: &Plan) -> Result<(), Refusal> {
        let Some((_, facts)) = self.taken_part_in(run) else { return Ok(()) };
        if facts.results >= plan.rounds {
            return Err(Refusal::PlanComplete { rounds: plan.rounds });
        }
        let in_ledger = self.ledger(run).map_or(0, |view| view.uploads_under_plan);
        let made = self.facts.uploads_under(&facts.plan).max(in_ledger);
        self.profile.policy.check_uploads_in_run(plan, facts.debits, made)
    }

    pub(super) fn trained(&mut self, job: JobId, outcome: TrainOutcome) {
        let Some(round) = self.round.as_mut().filter(|round| round.work == job) else { return };
        if !matches!(round.step, Step::Training) {
            return;
        }
        let reason = match outcome {
            TrainOutcome::Ready { origin } if origin == round.origin => {
                round.step = Step::Trained;
                return;
            }
            // Of something else than was asked for: there is none of this round.
            TrainOutcome::Ready { .. } | TrainOutcome::Unavailable => Decline::Unavailable,
        };
        let at = round.at;
        self.hand = Some(round.run);
        self.erase();
        self.decline(Some(at.round), reason);
    }

    pub(super) fn advertise_when_ready(&mut self, now: Timestamp, rng: &mut dyn CryptoRng) {
        let Some(round) = &mut self.round else { return };
        if !matches!(round.step, Step::Trained) || now < round.ready_at() {
            return;
        }
        let at = round.at;
        let context = RoundBinding {
            run_id: *round.run.as_bytes(),
            plan_hash: *round.origin.plan.as_bytes(),
            roster_hash: *round.roster.digest().as_bytes(),
            round: at.round,
            attempt: at.attempt,
            model_hash: *round.origin.start.as_bytes(),
        }
        .ctx0();
        let (state, advert) = Advertised::new(
            self.profile.id,
            context,
            round.plan.excess_noise(),
            self.profile.identity.signing_key(),
            rng,
        );
        round.step = Step::Advertised { state, advert: advert.clone() };
        self.hand = Some(round.run);
        self.commit(ClientRecord::Advertised { at });
        self.say(ToCoordinator::Advertise { at, advert });
    }
}
