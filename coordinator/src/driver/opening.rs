//! A sum is opened by a worker, and what comes of it is staged before the core hears of it.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use anyhow::Context;
use federation::{Input, RunNumber};
use protocol::{Attempt, SumFailure, SumJob};
use runs::{NextVersion, OpeningError, RunFolderError, is_disk};
use store::StoreError;
use tokio::task::block_in_place;

use super::Driver;
use crate::events::Event;

/// Said of a disk, or of descriptors, that failed while a round's files were read or written.
const OPENING_FAILED: &str = "stopped with the round's shares in the journal; fix what follows and start again, the same \
                              sum is opened then and no round is lost";

impl Driver {
    pub(super) fn compute(&mut self, run: RunNumber, job: SumJob) -> anyhow::Result<()> {
        let at = job.at;
        let head = self.head(run)?.clone();
        let at_work = self.at_work(run)?;
        let run_id = at_work.id;
        let opening = match at_work.folder.opening(job, &head) {
            Ok(opening) => opening,
            // Trying again would fail again: the round ends by name, and the run goes on.
            Err(RunFolderError::Store(why @ (StoreError::NotStaged(_) | StoreError::Vault { .. })))
                if !is_disk(&why) =>
            {
                let result = Err(SumFailure::BadAggregate(format!("a staged vector is gone: {why}")));
                self.feed(Input::Summed { run, at, result });
                return Ok(());
            }
            // It says nothing of the vectors, for which everybody has paid.
            Err(why) => return Err(why).context(OPENING_FAILED),
        };
        let (inbox, openings) = (self.inbox.clone(), Arc::clone(&self.openings));
        let opened = move || {
            // A round must end, even where opening it shows a fault of this program.
            let result = std::panic::catch_unwind(AssertUnwindSafe(|| opening.run()))
                .unwrap_or_else(|_| {
                    Err(SumFailure::BadAggregate("opening the sum failed inside".into()).into())
                })
                .map(|next| Box::new(NextVersion::of(next, &run_id, at.round)));
            // The driver outlives its workers unless the process stops.
            let _ = inbox.blocking_send(Event::Opened { run, at, result });
        };
        tokio::spawn(async move {
            // Of each run one at most, as it has one round; of all runs as many as there are places. Nobody closes them.
            let Ok(_place) = openings.acquire().await else { return };
            // A panic was caught, and there is nothing else to wait for.
            let _ = tokio::task::spawn_blocking(opened).await;
        });
        Ok(())
    }

    pub(super) fn opened(
        &mut self,
        run: RunNumber,
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
                let folder = &mut self.at_work(run)?.folder;
                Ok(block_in_place(|| folder.stage_next(*version, at)).context(OPENING_FAILED)?)
            }
        };
        self.feed(Input::Summed { run, at, result });
        Ok(())
    }
}
