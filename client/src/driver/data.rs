//! The table that a check-in tells of, and what its ledger says.

use std::sync::Arc;

use params::Digest;
use plan::AuthoredPlan;
use protocol::{ClientEffect, ClientInput, JobId};
use tokio::task::block_in_place;

use super::Driver;
use super::words::TWICE;
use crate::RunError;
use crate::jobs::{Assignment, TrainFailure};

impl Driver {
    /// Tells the core what the ledger says of a run, and its operator where another silo with the same data is in the round that
    /// opens.
    pub(super) fn look_at_ledger(&mut self, run: Digest, opens: Option<u64>) -> Result<(), RunError> {
        let plan = self.participant.plan(&run);
        let view = block_in_place(|| self.spending.view(Some(run), plan.map(|plan| &**plan)))?;
        let occupied = opens.filter(|round| view.rounds_of_others.contains(round));
        self.feed(ClientInput::Ledger(view));
        // Of one that is not on the roster any more; for others the run is declined.
        if let Some(round) = occupied.filter(|_| self.participant.plan(&run).is_some()) {
            tracing::error!(round, "another silo with the same data is in this round: {TWICE}");
        }
        Ok(())
    }

    /// At once, and not in the effects' turn: what is said next may be of the run.
    pub(super) fn answer_claims(&mut self) -> Result<(), RunError> {
        let is_claim = |effect: &ClientEffect| matches!(effect, ClientEffect::Claim { .. });
        while let Some(ClientEffect::Claim { run, plan, may_look }) =
            self.effects.iter().position(is_claim).and_then(|at| self.effects.remove(at))
        {
            self.claim(run, &plan, may_look)?;
        }
        Ok(())
    }

    /// Claims what a run may cost before the core says that this silo takes part in it.
    pub(super) fn claim(&mut self, run: Digest, plan: &AuthoredPlan, may_look: bool) -> Result<(), RunError> {
        let answer = block_in_place(|| self.spending.claim(run, plan, may_look))?;
        self.feed(ClientInput::Claimed { run, answer });
        match self.participant.plan(&run) {
            Some(_) => {
                self.refused_no_more(&run);
                self.look_at_ledger(run, None)
            }
            None => Ok(()),
        }
    }

    /// The run is over for this silo: neither its claim nor its table is held any longer.
    pub(super) fn return_claim(&mut self, run: &Digest) -> Result<(), RunError> {
        self.work.run_is_over(*run);
        if block_in_place(|| self.spending.return_claim(run, "the run is over, or was not joined"))? {
            tracing::info!(run = %run.short(), "what the run had claimed of this data is free");
        }
        Ok(())
    }

    /// A round that opens meanwhile trains on the same.
    pub(super) fn read_data(&mut self, job: JobId, run: Digest, plan: Arc<AuthoredPlan>) {
        let reading = self.jobs.spawn(self.work.on(Assignment::Read { job, run, plan }));
        if let Some((_, earlier)) = self.reading.insert(run, (job, reading)) {
            earlier.abort();
        }
        self.feed(ClientInput::ReadingBegun { job });
    }

    pub(super) fn data_read(&mut self, job: JobId, run: Digest, result: Result<Digest, TrainFailure>) {
        if self.reading.get(&run).is_none_or(|(reading, _)| *reading != job) {
            // Another reading has taken its place.
            return;
        }
        self.reading.remove(&run);
        let commitment = match result {
            Ok(version) => self.commitment(run, version),
            Err(why) => {
                // Where nothing is promised, the next round is sat out over it too, unless it is put right.
                tracing::error!("no version of the data can be declared: {why}");
                None
            }
        };
        self.feed(ClientInput::DataRead { job, commitment });
    }
}
