//! The server's steps, done again, and the records that cannot be true.

use protocol::{ClientInput, Contradiction, StepJob, StepOutcome, WitnessState};
use published::Version;
use tokio::task::block_in_place;
use witness::Uploads;

use super::Driver;
use crate::RunError;
use crate::jobs::Assignment;
use crate::models::FetchError;
use params::Digest;

/// How often a silo that catches up says how far it is: each so many steps.
const PROGRESS_EVERY: usize = 50;
/// Beside the journal: records that contradict it.
const EVIDENCE: &str = "contradiction";

impl Driver {
    /// What the journal says of this silo as a witness.
    pub(crate) fn witness_state(&self) -> WitnessState {
        self.participant.witness_state()
    }

    /// What this silo has uploaded, for the watchman.
    pub(crate) fn uploads(&self) -> Uploads {
        self.uploads.clone()
    }

    /// A later job takes the place of an earlier one: that is of a run that the coordinator has left.
    pub(super) fn verify_step(&mut self, job: StepJob) {
        let (round, behind) = (job.manifest.round, job.behind);
        if behind > 0 && behind.is_multiple_of(PROGRESS_EVERY) {
            tracing::info!(round, behind, "catching up: doing the server's earlier steps again");
        }
        let patience = self.patience.learn(&job.plan);
        let plan = job.plan.digest();
        let held = self.kept.take().filter(|(of, _)| *of == plan).map(|(_, version)| version);
        let step = self.jobs.spawn(self.work.on(Assignment::Step { job, held, patience }));
        if let Some(earlier) = self.stepping.replace(step) {
            earlier.abort();
        }
    }

    pub(super) fn stepped(
        &mut self,
        record: Digest,
        plan: Digest,
        round: u64,
        result: Result<Version, FetchError>,
    ) {
        let outcome = match result {
            Ok(version) => {
                self.kept = Some((plan, version));
                StepOutcome::Follows
            }
            Err(why) => {
                tracing::error!(round, "the step of this round is not verified: {why}");
                match why {
                    FetchError::Step(_) => StepOutcome::DoesNotFollow,
                    _ => StepOutcome::Unavailable,
                }
            }
        };
        self.feed(ClientInput::StepVerified { record, outcome });
    }

    /// Keeps both texts, durably, and ends the daemon.
    pub(super) fn keep_contradiction(&mut self, contradiction: &Contradiction) -> Result<(), RunError> {
        let Contradiction { published, round, what, known } = contradiction;
        let text = format!(
            "published by the coordinator\n\n{}\n\nits signature\n\n{}\n\nknown to this silo from its own journal\n\n{known}",
            String::from_utf8_lossy(&published.manifest_bytes),
            hex::encode(published.signature),
        );
        let evidence = block_in_place(|| audit::keep_evidence(&self.state, EVIDENCE, &text))?;
        let why = RunError::Contradiction { round: *round, what, evidence };
        tracing::error!("{why}");
        self.ended = Some(Err(why));
        Ok(())
    }
}
