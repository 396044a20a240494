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
use crate::message::{Attempt, CoordinatorFault, Decline};
use crate::record::ClientRecord;
use crate::server_step::round_start;

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
        let Some((run, facts)) = self.current_run() else { return };
        let behind = facts.pending.len();
        let (run, plan) = (run.id, Arc::clone(&run.plan));
        if behind > STEPS_IN_A_ROUND {
            self.verify_next();
            self.closed.insert(run, at);
            return self.refuse(Some(at.round), &Refusal::CatchingUp { behind });
        }
        self.erase();
        self.round = Some(Round {
            at,
            run,
            model: head.model.params_digest,
            origin: Origin { plan: plan.digest(), start: round_start(&plan, &head) },
            plan,
            work: self.jobs.draw(),
            opened: now,
            step: Step::Preparing { head },
            adverts: Vec::new(),
            bundle: None,
            delivery: None,
        });
        self.verify_next();
    }

    /// So many that no round has time for them.
    pub(super) fn catch_up(&mut self) {
        if self.current_run().is_some_and(|(_, facts)| facts.pending.len() > STEPS_IN_A_ROUND) {
            self.verify_next();
        }
    }

    /// Asks for the step that is due, unless it was asked for.
    fn verify_next(&mut self) {
        let Some((run, facts)) = self.current_run() else { return };
        let Some(due) = facts.pending.front().filter(|due| self.verifying != Some(due.record)) else {
            return;
        };
        let job = StepJob {
            record: due.record,
            plan: Arc::clone(&run.plan),
            manifest: Arc::clone(&due.manifest),
            before: Arc::clone(&due.before),
            behind: facts.pending.len() - 1,
        };
        self.verifying = Some(job.record);
        self.effects.push(ClientEffect::VerifyStep(job));
    }

    pub(super) fn step_verified(&mut self, record: Digest, outcome: StepOutcome) {
        if self.verifying.take_if(|asked| *asked == record).is_none() {
            return;
        }
        // Of a run that the coordinator has left meanwhile.
        let due = self.current_run().and_then(|(_, facts)| facts.pending.front());
        if due.is_none_or(|due| due.record != record) {
            return;
        }
        let reason = match outcome {
            StepOutcome::Follows => {
                self.commit(ClientRecord::StepVerified { record });
                return self.verify_next();
            }
            StepOutcome::Unavailable => Decline::Unavailable,
            StepOutcome::DoesNotFollow => fault(CoordinatorFault::Step),
        };
        // Outside a round nothing is owed: the next one asks for the step again, and says then what is wrong with it.
        if let Some(round) = self.round.take_if(|round| matches!(round.step, Step::Preparing { .. })) {
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
        let wall = self.wall(now).max(self.wall(round.opened).plus_ms(now.0.saturating_sub(round.opened.0)));
        if let Err(refusal) = self.check_witnesses(round, head.round, wall) {
            let (run, at) = (round.run, round.at);
            if now >= by {
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
