//! The server's steps, done again in the chain's order: a silo trains on no model that it did not compute from the
//! published sums, from version 0 on.
//!
//! Normally one step is due when a round opens, that of the round before it, and is done in that round. A silo that was
//! away, or came later, has many: it does them in the background and sits rounds out meanwhile. A rollback has no step of
//! its own: its model is that of an earlier record, whose step was among them.

use std::sync::Arc;

use checkpoint::Manifest;
use params::Digest;
use plan::{AuthoredPlan, Origin, Refusal};
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use super::round::{Round, Step};
use super::{ClientEffect, Participant, TrainJob, fault};
use crate::Timestamp;
use crate::record::ClientRecord;
use crate::server_step::round_start;
use messages::{Attempt, CoordinatorFault, Decline};

/// Steps that are waited for in a round. More are done between rounds.
const STEPS_IN_A_ROUND: usize = 8;
/// A fifth: as long as a peer may be silent in a round.
const WITNESSES_OF_A_ROUND: u64 = 5;

/// A step that was not done again yet.
pub(super) struct Pending {
    /// Digest of the signed record.
    pub(super) record: Digest,
    pub(super) manifest: Arc<Manifest>,
    pub(super) before: Arc<Manifest>,
}

/// One of the server's steps, to be done again.
pub struct StepJob {
    /// Digest of the signed record, by which its answer is known: it is never given twice.
    pub record: Digest,
    /// The run's plan.
    pub plan: Arc<AuthoredPlan>,
    /// What was published.
    pub manifest: Arc<Manifest>,
    /// The record before it, of the model that the step starts from. That model was computed here, or is the plan's.
    pub before: Arc<Manifest>,
    /// So many are due after it.
    pub behind: usize,
}

impl std::fmt::Debug for StepJob {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "StepJob(round {}, {} after it)", self.manifest.round, self.behind)
    }
}

/// How a [`ClientEffect::VerifyStep`] ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepOutcome {
    /// The step gives the published model.
    Follows,
    /// It could not be done; the silo's own log says why.
    Unavailable,
    /// It gives something else.
    DoesNotFollow,
}

impl Participant {
    /// Takes part in the attempt, once everything before it is verified.
    pub(super) fn prepare(&mut self, now: Timestamp, at: Attempt, head: Arc<Manifest>) {
        let Some(run) = self.hand else { return };
        let Some((taken, facts)) = self.run_in_hand() else { return };
        let behind = facts.pending.len();
        let plan = Arc::clone(&taken.plan);
        if behind > STEPS_IN_A_ROUND {
            self.catch_up();
            self.closed.insert(run, at);
            return self.refuse(Some(at.round), &Refusal::CatchingUp { behind });
        }
        self.erase();
        self.round = Some(Round {
            at,
            run,
            roster: Arc::clone(&self.roster),
            model: head.model.params_digest,
            origin: Origin { plan: plan.digest(), start: round_start(&plan, &head) },
            plan,
            work: self.jobs.draw(),
            opened: now,
            opened_wall: self.wall(now),
            step: Step::Preparing { head },
            adverts: Vec::new(),
            bundle: None,
            delivery: None,
        });
        self.verify_next(run);
    }

    /// Begins with a run that has so many steps due that no round has time for them, unless a step is done now.
    pub(super) fn catch_up(&mut self) {
        let is_behind = |run: &Digest| self.facts.joined_run(run).pending.len() > STEPS_IN_A_ROUND;
        let behind = self.hand.filter(|run| self.runs.contains_key(run) && is_behind(run));
        let behind = behind.or_else(|| self.runs.keys().copied().find(is_behind));
        if let Some(run) = behind.filter(|_| !self.is_verifying()) {
            self.verify_next(run);
        }
    }

    /// Whether a step is done that is still due.
    fn is_verifying(&self) -> bool {
        self.verifying.is_some_and(|(run, record)| self.due(&run).is_some_and(|due| due.record == record))
    }

    fn due(&self, run: &Digest) -> Option<&Pending> {
        self.taken_part_in(run).and_then(|(_, facts)| facts.pending.front())
    }

    /// Asks for the step that is due in this run, unless it was asked for.
    fn verify_next(&mut self, run: Digest) {
        let Some((taken, facts)) = self.taken_part_in(&run) else { return };
        let Some(due) = facts.pending.front().filter(|due| self.verifying != Some((run, due.record))) else {
            return;
        };
        let job = StepJob {
            record: due.record,
            plan: Arc::clone(&taken.plan),
            manifest: Arc::clone(&due.manifest),
            before: Arc::clone(&due.before),
            behind: facts.pending.len() - 1,
        };
        self.verifying = Some((run, job.record));
        self.effects.push(ClientEffect::VerifyStep(job));
    }

    pub(super) fn step_verified(&mut self, record: Digest, outcome: StepOutcome) {
        let Some((run, _)) = self.verifying.take_if(|(_, asked)| *asked == record) else { return };
        // Of a run that the coordinator has left meanwhile.
        if self.due(&run).is_none_or(|due| due.record != record) {
            return;
        }
        self.hand = Some(run);
        let reason = match outcome {
            StepOutcome::Follows => {
                self.commit(ClientRecord::StepVerified { record });
                self.verify_next(run);
                // What a round of this run took the place of.
                return self.catch_up();
            }
            StepOutcome::Unavailable => Decline::Unavailable,
            StepOutcome::DoesNotFollow => fault(CoordinatorFault::Step),
        };
        // Outside a round nothing is owed: the next one asks for the step again, and says then what is wrong with it.
        let waits = |round: &mut Round| round.run == run && matches!(round.step, Step::Preparing { .. });
        if let Some(round) = self.round.take_if(waits) {
            self.effects.push(ClientEffect::Forget(round.work));
            self.decline(Some(round.at.round), reason);
        }
    }

    /// Until when a prepared round waits for witnesses, in which the watchman looks at the log again.
    pub(super) fn witnesses_by(&self, round: &Round) -> Option<Timestamp> {
        let done = self.facts.joined_run(&round.run).pending.is_empty();
        let waits = matches!(round.step, Step::Preparing { .. }) && done;
        waits.then(|| round.opened.plus_ms(round.plan.timing.round_deadline_ms / WITNESSES_OF_A_ROUND))
    }

    /// Trains where nothing is left to wait for.
    pub(super) fn train_when_prepared(&mut self, now: Timestamp, rng: &mut dyn CryptoRng) {
        let Some(round) = &self.round else { return };
        let (Some(by), Step::Preparing { head }) = (self.witnesses_by(round), &round.step) else { return };
        // The wall clock was read when the round opened.
        let wall = self.wall(now).max(round.opened_wall.plus_ms(now.0.saturating_sub(round.opened.0)));
        if let Err(refusal) = self.check_witnesses(round, head.round, wall) {
            let (run, at) = (round.run, round.at);
            if now >= by {
                self.hand = Some(run);
                self.closed.insert(run, at);
                self.erase();
                self.refuse(Some(at.round), &refusal);
            }
            return;
        }
        let Some(round) = &mut self.round else { return };
        let Step::Preparing { head } = &round.step else { return };
        let mut seed = Zeroizing::new([0u8; 32]);
        rng.fill_bytes(seed.as_mut());
        let (id, at, plan, head) = (round.work, round.at, Arc::clone(&round.plan), Arc::clone(head));
        round.step = Step::Training;
        self.effects.push(ClientEffect::Train(TrainJob { id, at, plan, head, seed }));
    }
}
