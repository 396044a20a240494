//! The table that a check-in tells of.

use std::sync::Arc;

use identity::AuthoredPlan;
use params::Digest;
use protocol::ClientInput;
use tokio::task::block_in_place;

use super::Driver;
use crate::RunError;
use crate::jobs::{self, Table, TrainFailure};

impl Driver {
    /// A round that opens meanwhile reads for itself: nothing older is trained on than what is told.
    pub(super) fn read_data(&mut self, run: Digest, plan: Arc<AuthoredPlan>) {
        self.kept.table = None;
        if let Some(earlier) = self.reading.replace(self.jobs.spawn(jobs::read(self.data.clone(), run, plan)))
        {
            earlier.abort();
        }
    }

    pub(super) fn data_read(
        &mut self,
        run: Digest,
        result: Result<Table, TrainFailure>,
    ) -> Result<(), RunError> {
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
        self.feed(ClientInput::DataRead { run, commitment });
        Ok(())
    }
}
