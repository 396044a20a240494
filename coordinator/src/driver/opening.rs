//! A sum is opened by a worker, and what comes of it is staged before the core hears of it.

use std::panic::AssertUnwindSafe;

use anyhow::Context;
use protocol::{Attempt, Input, SumFailure, SumJob};
use runs::{NextVersion, OpeningError, RunFolderError, is_disk};
use store::StoreError;
use tokio::task::block_in_place;

use super::Driver;
use crate::events::Event;

/// Said of a disk, or of descriptors, that failed while a round's files were read or written.
const OPENING_FAILED: &str = "stopped with the round's shares in the journal; fix what follows and start again, the same \
                              sum is opened then and no round is lost";

impl Driver {
    pub(super) fn compute(&mut self, job: SumJob) -> anyhow::Result<()> {
        let at = job.at;
        let run_id = self.core.run_id().context("a sum is opened before the run started")?;
        let head = self.core.head_record().context("the journal holds no checkpoint")?;
        let opening = match self.run.folder.opening(job, head) {
            Ok(opening) => opening,
            // Trying again would fail again: the round ends by name, and the run goes on.
            Err(RunFolderError::Store(why @ (StoreError::NotStaged(_) | StoreError::Vault { .. })))
                if !is_disk(&why) =>
            {
                let result = Err(SumFailure::BadAggregate(format!("a staged vector is gone: {why}")));
                self.feed(Input::Summed { at, result });
                return Ok(());
            }
            // It says nothing of the vectors, for which everybody has paid.
            Err(why) => return Err(why).context(OPENING_FAILED),
        };
        let inbox = self.inbox.clone();
        tokio::task::spawn_blocking(move || {
            // A round must end, even where opening it shows a fault of this program.
            let result = std::panic::catch_unwind(AssertUnwindSafe(|| opening.run()))
                .unwrap_or_else(|_| {
                    Err(SumFailure::BadAggregate("opening the sum failed inside".into()).into())
                })
                .map(|next| Box::new(NextVersion::of(next, &run_id, at.round)));
            // The driver outlives its workers unless the process stops.
            let _ = inbox.blocking_send(Event::Opened { at, result });
        });
        Ok(())
    }

    pub(super) fn opened(
        &mut self,
        at: Attempt,
        result: Result<Box<NextVersion>, OpeningError>,
    ) -> anyhow::Result<()> {
        let result = match result {
            Err(OpeningError::Round(why)) => Err(why),
            Err(OpeningError::Disk(why)) => return Err(why).context(OPENING_FAILED),
            // Durable before the record that names them. What the core passes over lies under its own digests, which no record
            // names, whatever its noise; the next round removes it. A disk that fails is a crash: the round's shares are
            // journalled, so that recovery opens the same sum again, and nobody's budget is lost.
            Ok(version) => {
                let folder = &mut self.run.folder;
                Ok(block_in_place(|| folder.stage_next(*version, at)).context(OPENING_FAILED)?)
            }
        };
        self.feed(Input::Summed { at, result });
        Ok(())
    }
}
