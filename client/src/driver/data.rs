//! The table that a check-in tells of, and what its ledger says.

use std::sync::Arc;

use datasets::Dataset;
use params::Digest;
use plan::AuthoredPlan;
use protocol::{ClientInput, JobId};
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

    /// A round that opens meanwhile trains on the same.
    pub(super) fn read_data(&mut self, job: JobId, run: Digest, plan: Arc<AuthoredPlan>) {
        let reading = self.jobs.spawn(self.work.on(Assignment::Read { job, run, plan }));
        if let Some((_, earlier)) = self.reading.insert(run, (job, reading)) {
            earlier.abort();
        }
    }

    pub(super) fn data_read(&mut self, job: JobId, run: Digest, result: Result<Arc<Dataset>, TrainFailure>) {
        if self.reading.get(&run).is_none_or(|(reading, _)| *reading != job) {
            // Another reading has taken its place.
            return;
        }
        self.reading.remove(&run);
        let commitment = match result {
            Ok(data) => self.commitment(run, data.version()),
            Err(why) => {
                // Where nothing is promised, the next round is sat out over it too, unless it is put right.
                tracing::error!("no version of the data can be declared: {why}");
                None
            }
        };
        self.feed(ClientInput::DataRead { job, commitment });
    }
}
