//! A sum is opened by a worker, and what comes of it is staged before the core hears of it.

use std::panic::AssertUnwindSafe;

use anyhow::Context;
use protocol::{Attempt, Input, SumFailure, SumJob, Summed};
use store::StoreError;
use tokio::task::block_in_place;

use super::{Driver, stage_key};
use crate::artifacts::Files;
use crate::events::{Event, NextVersion};
use crate::worker::{Opening, OpeningError, is_disk};

/// Said of a disk, or of descriptors, that failed while a round's files were read or written.
const OPENING_FAILED: &str = "stopped with the round's shares in the journal; fix what follows and start again, the same \
                              sum is opened then and no round is lost";

impl Driver {
    pub(super) fn compute(&mut self, job: SumJob) -> anyhow::Result<()> {
        let at = job.at;
        let opened = job.uploads.iter().map(|header| self.store.open_staged(&stage_key(header))).collect();
        let vectors: Vec<_> = match opened {
            Ok(vectors) => vectors,
            // Trying again would fail again: the round ends by name, and the run goes on.
            Err(why @ (StoreError::NotStaged(_) | StoreError::Vault { .. })) if !is_disk(&why) => {
                let result = Err(SumFailure::BadAggregate(format!("a staged vector is gone: {why}")));
                self.feed(Input::Summed { at, result });
                return Ok(());
            }
            // It says nothing of the vectors, for which everybody has paid.
            Err(why) => return Err(why).context(OPENING_FAILED),
        };
        let plan = self.plan.clone();
        let run_id = self.core.run_id().context("a sum is opened before the run started")?;
        let version = self.load_head()?;
        let (params, state) = (version.params.clone(), version.state.clone());
        let opening = Opening { job, plan, vectors, params, state };
        let inbox = self.inbox.clone();
        tokio::task::spawn_blocking(move || {
            // A round must end, even where opening it shows a fault of this program.
            let result = std::panic::catch_unwind(AssertUnwindSafe(|| opening.run()))
                .unwrap_or_else(|_| {
                    Err(SumFailure::BadAggregate("opening the sum failed inside".into()).into())
                })
                .map(|next| {
                    let files = Files::stepped(&next, &run_id, at.round);
                    Box::new(NextVersion { next, files })
                });
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
            Ok(version) => {
                let NextVersion { next, files } = *version;
                // Durable before the record that names them. What the core passes over lies under its own digests, which no record
                // names, whatever its noise; the next round removes it. A disk that fails is a crash: the round's shares are
                // journalled, so that recovery opens the same sum again, and nobody's budget is lost.
                block_in_place(|| files.stage(self.store.as_mut(), at)).context(OPENING_FAILED)?;
                Ok(Summed {
                    aggregate: next.aggregate,
                    artifacts: files.artifacts(next.params.digest()),
                    metrics: next.metrics,
                })
            }
        };
        self.feed(Input::Summed { at, result });
        Ok(())
    }
}
