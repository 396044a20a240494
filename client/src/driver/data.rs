//! The table that a check-in tells of.

use std::sync::Arc;

use identity::AuthoredPlan;
use params::Digest;
use protocol::{ClientInput, JobId};
use tokio::task::block_in_place;

use super::Driver;
use crate::RunError;
use crate::jobs::{self, Table, TrainFailure};

impl Driver {
    /// A round that opens meanwhile reads for itself: nothing older is trained on than what is told.
    pub(super) fn read_data(&mut self, job: JobId, run: Digest, plan: Arc<AuthoredPlan>) {
        self.kept.table = None;
        let reading = self.jobs.spawn(jobs::read(self.data.clone(), job, run, plan));
        if let Some((_, earlier)) = self.reading.replace((job, reading)) {
            earlier.abort();
        }
    }

    pub(super) fn data_read(
        &mut self,
        job: JobId,
        run: Digest,
        result: Result<Table, TrainFailure>,
    ) -> Result<(), RunError> {
        if self.reading.take_if(|(reading, _)| *reading == job).is_none() {
            // Another reading has taken its place.
            return Ok(());
        }
        let commitment = match result {
            Ok(table) => {
                let version = table.data.version();
                self.kept.table = Some(table);
                Some(block_in_place(|| self.spending.commitment(&run, &version))?)
            }
            Err(why) => {
                // The next round's training fails over it too, and says so to both sides.
                tracing::error!("nothing is told of the data: {why}");
                None
            }
        };
        self.feed(ClientInput::DataRead { job, commitment });
        Ok(())
    }
}
