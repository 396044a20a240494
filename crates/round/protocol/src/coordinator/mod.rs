//! The coordinator's side of a run.

mod actions;
mod commit;
mod declared;
mod emergency;
mod gather;
mod incoming;
mod interface;
mod opening;
mod phase;
mod report;
mod roster;
mod state;
mod turn;

use std::collections::{BTreeMap, BTreeSet};

use checkpoint::SignedManifest;
use params::Digest;
use rand_core::CryptoRng;
use run_status::Reasons;
use secagg::ClientId;

use crate::Timestamp;
use crate::record::Record;
use crate::spend::Price;
pub use actions::Act;
pub use interface::{
    Artifacts, Effect, Effects, Input, Setup, StartError, SumFailure, SumJob, SumResult, Summed,
};
use messages::SessionVersion;
use messages::{DropReason, Rejection, RoundOutcome, ToClient, UploadHeader};
pub use opening::{NextModel, aggregate_digest, next_model};
use phase::{Phase, Step, Verdict};
use state::State;
pub use turn::Turn;

/// A run, seen from the coordinator.
pub struct Coordinator {
    setup: Setup,
    /// Of one round; `None` without noise.
    price: Option<Price>,
    state: State,
    /// Sessions, not part of the journalled state: a restart begins without any.
    links: BTreeMap<ClientId, Link>,
    /// The roster that those with sessions were welcomed under.
    welcomed: Digest,
    /// The last thing that went wrong with a client, for the status only.
    reasons: Reasons,
    /// Who declines the run now, and why, whether or not its session stands and whether or not it was written down again.
    declining: BTreeMap<ClientId, String>,
    /// Since when this process waits in the idle phase, at the earliest its own start.
    idle_since: Timestamp,
    started: Timestamp,
    /// What the federation leaves to it.
    turn: Turn,
    /// When it last waited for silos because they are in other runs.
    busy_until: Timestamp,
    /// Who was here when no cohort could be made of them after the whole wait, until an attempt opens.
    tried: Option<BTreeSet<ClientId>>,
    /// For a round's time too few were here for a cohort, and are still.
    short: bool,
    /// What the input in hand comes to, in its order; empty between two inputs.
    effects: Effects,
}

/// A session.
#[derive(Debug, Clone, Copy)]
struct Link {
    /// What it is spoken in: nothing later than this is said.
    version: SessionVersion,
    /// The roster that it has accepted, as far as this session knows.
    holds: Option<Digest>,
    checked_in: bool,
}

impl Link {
    fn new(version: SessionVersion) -> Self {
        Self { version, holds: None, checked_in: false }
    }
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
        let own = setup.key.verifying_key();
        if setup.roster.coordinator() != own {
            return Err(StartError::OtherKey(checkpoint::public_key_text(&own)));
        }
        let mut coordinator = Self {
            state: State::new(setup.roster.clone(), setup.plan.cohort.corrupt),
            price: Price::of(&setup.plan).map_err(|why| StartError::Plan(why.to_string()))?,
            links: BTreeMap::new(),
            welcomed: setup.roster.digest(),
            reasons: Reasons::default(),
            declining: BTreeMap::new(),
            idle_since: now,
            started: now,
            turn: Turn::default(),
            busy_until: Timestamp(0),
            tried: None,
            short: false,
            effects: Effects::new(),
            setup,
        };
        for record in journal {
            coordinator.check_plan(record)?;
            coordinator.apply(record);
        }
        coordinator.take_configured_roster()?;
        coordinator.welcomed = coordinator.state.roster.digest();
        // The crash may have fallen between a record and its publication.
        coordinator.effects.extend(coordinator.state.acted.recent.iter().cloned().map(Effect::Publish));
        coordinator.announce_job();
        out.append(&mut coordinator.effects);
        Ok(coordinator)
    }

    /// Whether [`Input::Start`] is still to come.
    pub fn is_new(&self) -> bool {
        self.state.head.is_none()
    }

    /// The run, once started.
    pub fn run_id(&self) -> Option<Digest> {
        self.state.head.as_ref().map(|head| head.run_id)
    }

    /// Takes one input and appends what is to be done.
    ///
    /// # Errors
    /// A [`Rejection`] of this input alone; the state is as before, and the sender may hear of it.
    pub fn handle(
        &mut self,
        now: Timestamp,
        rng: &mut dyn CryptoRng,
        input: Input,
        out: &mut Effects,
    ) -> Result<(), Rejection> {
        self.reasons.now(now.0);
        let result = match input {
            Input::Start { genesis } => {
                self.start(now, rng, genesis);
                Ok(())
            }
            Input::Connected { client, version } => self.connected(client, version),
            Input::Disconnected { client } => {
                self.links.remove(&client);
                Ok(())
            }
            Input::Message { from, message } => self.message(from, message, now),
            Input::Staged(header) => self.staged(header),
            Input::Summed { at, result } => {
                self.summed(at, result, now);
                Ok(())
            }
            Input::Roster(roster) => self.change_roster(&roster),
            Input::Act { act, staged } => self.act(act, staged, now),
            Input::Tick => Ok(()),
        };
        self.advance(now, rng);
        out.append(&mut self.effects);
        result
    }

    /// Whether a masked vector with this header may be sent now.
    ///
    /// # Errors
    /// [`Rejection`], before a byte of it is read.
    pub fn admit_upload(&self, header: &UploadHeader) -> Result<(), Rejection> {
        let Phase::InRound(round, Step::Uploading(step)) = &self.state.phase else {
            return Err(self.out_of_phase("a masked vector"));
        };
        step.admit(round, header, self.setup.plan.lanes()).map(drop)
    }

    /// When after `now` [`Input::Tick`] is due, if at all. `now` is that of the last [`Coordinator::handle`]: a
    /// deadline that passed since then is due at once.
    pub fn deadline(&self, now: Timestamp) -> Option<Timestamp> {
        let plan = &self.setup.plan;
        let due = match &self.state.phase {
            Phase::Idle => {
                let of_round = |since: Timestamp| Some(since.plus_ms(plan.timing.round_deadline_ms));
                let gathers = self.gathers_since();
                let minimum = Some(gathers.plus_ms(plan.timing.minimum_wait_ms));
                [minimum, of_round(gathers), of_round(self.idle_since), self.waits().map(|(_, until)| until)]
            }
            phase => [phase.patience(plan), phase.deadline(plan), None, None],
        };
        due.into_iter().flatten().filter(|at| *at > now).min()
    }

    /// The newest record of the chain, once the run has begun.
    pub fn head_record(&self) -> Option<&SignedManifest> {
        self.state.head_record.as_ref()
    }

    /// The one way in which journalled state changes, live and at recovery.
    fn apply(&mut self, record: &Record) {
        self.state.apply(record, &self.setup);
    }

    /// Publishes a record of the chain, and says it to everybody who has checked in. What was staged before the next
    /// attempt is of no more use.
    fn publish(&mut self, signed: SignedManifest, next: u64) {
        self.effects.push(Effect::Publish(signed.clone()));
        for (client, _) in self.links.iter().filter(|(_, link)| link.checked_in) {
            send(&mut self.effects, *client, ToClient::Published(signed.clone()));
        }
        self.effects.push(Effect::DiscardStaged { before: next });
    }

    /// Journals a fact and applies it.
    fn commit(&mut self, record: Record) {
        self.apply(&record);
        self.effects.push(Effect::Persist(record));
    }

    fn commit_if(&mut self, new: bool, record: Record) {
        if new {
            self.commit(record);
        }
    }

    fn drop_client(&mut self, client: ClientId, reason: DropReason) {
        let Some(round) = self.state.phase.round().filter(|round| round.takes_part(client)) else { return };
        self.reasons.fell_out(client, reason.to_string(), (round.at.round, round.at.attempt));
        self.commit(Record::Dropped { client, reason });
    }

    fn abort(&mut self, now: Timestamp, outcome: RoundOutcome) {
        let Some(round) = self.state.phase.round() else { return };
        let (at, cohort) = (round.at, round.cohort.clone());
        self.commit(Record::Aborted { now, outcome: outcome.clone() });
        self.idle_since = now;
        for client in cohort {
            send(&mut self.effects, client, ToClient::Aborted { at, outcome: outcome.clone() });
        }
        self.effects.push(Effect::DiscardStaged { before: self.state.next.round });
    }

    /// Moves on as far as what is known allows: each turn of the loop commits what opens or ends a step, and says the next
    /// one to everybody in it. It ends where something must come from outside: the phase's `verdict` says whether.
    fn advance(&mut self, now: Timestamp, rng: &mut dyn CryptoRng) {
        loop {
            self.welcome_under_new_roster();
            match &self.state.phase {
                Phase::NotStarted | Phase::Ended(_) => return,
                Phase::Idle if self.state.is_held() => return,
                Phase::Idle => {
                    if let Some(reason) = self.end_reason(now) {
                        return self.finish(reason);
                    }
                    self.notes_waiting(now);
                    self.notes_shortage(now);
                    let Some(cohort) = self.next_cohort(now, rng) else { return };
                    let at = self.state.next;
                    self.tried = None;
                    self.commit(Record::AttemptBegun { now, at, cohort });
                }
                phase => match phase.verdict(now, &self.setup.plan) {
                    Verdict::Wait => return,
                    Verdict::Abort(outcome) => {
                        // Where the others cannot be enough any more, who is awaited had time left.
                        if phase.deadline(&self.setup.plan).is_some_and(|deadline| now >= deadline) {
                            self.drop_silent();
                        }
                        self.abort(now, outcome);
                        continue;
                    }
                    Verdict::Go(record) => {
                        self.drop_silent();
                        self.commit(record);
                    }
                },
            }
            self.announce();
        }
    }

    /// Names everyone who did not answer the step that is now over.
    fn drop_silent(&mut self) {
        let Some(reason) = self.state.phase.silence() else { return };
        let awaited: Vec<ClientId> = self.state.phase.awaited().collect();
        for client in awaited {
            self.drop_client(client, reason.clone());
        }
    }

    /// Says the current step to everyone in it.
    fn announce(&mut self) {
        for client in self.links.keys() {
            if let Some(message) = self.state.phase.message_for(*client) {
                send(&mut self.effects, *client, message);
            }
        }
        self.announce_job();
    }

    fn announce_job(&mut self) {
        if let Phase::InRound(round, Step::Summing(step)) = &self.state.phase {
            self.effects.push(Effect::Compute(Box::new(step.job(round, self.state.head_round()))));
        }
    }

    fn out_of_phase(&self, message: &str) -> Rejection {
        Rejection::OutOfPhase { message: message.into(), phase: self.state.phase.name().word().into() }
    }

    fn check_plan(&self, record: &Record) -> Result<(), StartError> {
        let Record::RunStarted { plan, .. } = record else {
            return Ok(());
        };
        let own = self.setup.plan.digest();
        if *plan != own {
            return Err(StartError::OtherPlan { journal: plan.short(), configured: own.short() });
        }
        Ok(())
    }
}

fn send(out: &mut Effects, to: ClientId, message: ToClient) {
    out.push(Effect::Send { to, message: Box::new(message) });
}
