//! What training and masking came to.

use std::sync::Arc;

use alarms::Kind;
use ledger::LedgerError;
use params::Digest;
use protocol::{Attempt, ClientInput, Debit, JobId, TrainOutcome, Vector};
use published::Version;
use spending::Upload;
use tokio::task::block_in_place;
use workshop::TrainingResult;

use super::Driver;
use crate::RunError;
use crate::jobs::{Masked, TrainFailure};

impl Driver {
    pub(super) fn trained(
        &mut self,
        job: JobId,
        at: Attempt,
        version: Option<(Digest, Version)>,
        result: Result<TrainingResult, TrainFailure>,
    ) {
        // A result of something that is not held any more leaves nothing.
        let Some(held) = self.held.as_mut().filter(|held| held.work == job) else { return };
        self.kept = version.or(self.kept.take());
        let outcome = match result {
            Ok(made) => {
                let (origin, failed) = (made.contribution.origin(), made.failed.clone());
                (held.data_version, held.failed) = (made.data_version, failed.is_some());
                held.empty = made.empty;
                if made.empty {
                    tracing::warn!(
                        round = at.round,
                        "nothing of this silo's data is in this round: no row of the table contributes; `folkmoot-client alarms` says why"
                    );
                }
                held.made = Some(made);
                if let Some(why) = failed {
                    self.training_failed(at, why);
                }
                TrainOutcome::Ready { origin }
            }
            Err(TrainFailure::Model(model, why)) => {
                tracing::error!(round = at.round, "not trained: the model {model} is not trained on: {why}");
                TrainOutcome::Unavailable
            }
            // Only where nothing is promised, or where it follows from the plan and the model alone.
            Err(why) => {
                let text = format!("round {} is sat out: training failed; the log says why", at.round);
                let why = why.to_string();
                self.alarms.later(move |alarm| alarm.raise(Kind::Training, &text, &why));
                TrainOutcome::Unavailable
            }
        };
        self.feed(ClientInput::Trained { job, outcome });
    }

    pub(super) fn masked(
        &mut self,
        job: JobId,
        at: Attempt,
        result: Result<Masked, String>,
    ) -> Result<(), RunError> {
        let Some(held) = self.held.as_mut().filter(|held| held.masking == Some(job)) else {
            return Ok(());
        };
        let vector = match result {
            Ok(Masked { origin, vector, failed }) => {
                let digest = Digest::from_bytes(vector.digest());
                held.masked = Some((digest, Arc::new(vector)));
                if failed.is_some() {
                    (held.failed, held.data_version) = (true, None);
                }
                let any = held.failed;
                match (failed, any) {
                    (Some(why), _) => {
                        if let Some(Debit { run, plan, .. }) = self.participant.debit_for(job, origin) {
                            self.departures.replaced(&run, &plan.name, at);
                        }
                        self.training_failed(at, why);
                    }
                    // The operator has heard of it when training ended.
                    (None, true) => {}
                    (None, false) => self.alarms.later(|alarm| alarm.trained()),
                }
                let vector = Vector { origin, digest, failed: any };
                self.debit(job, vector)?.then_some(vector)
            }
            Err(why) => {
                tracing::error!(round = at.round, "not masked: {why}");
                None
            }
        };
        self.feed(ClientInput::Masked { job, vector });
        Ok(())
    }

    /// Debits the data's ledger with the vector that is held, before the core hears of it and it can leave. False where
    /// it may not leave, which the log explains.
    fn debit(&mut self, job: JobId, vector: Vector) -> Result<bool, RunError> {
        let Some(Debit { run, plan, at, model }) = self.participant.debit_for(job, vector.origin) else {
            return Ok(false);
        };
        let data_version = self.held.as_ref().and_then(|held| held.data_version);
        let failed = vector.failed;
        let upload = Upload { run, plan: &plan, at, model, upload: vector.digest, data_version, failed };
        match block_in_place(|| self.spending.reserve(upload)) {
            Ok(()) => Ok(true),
            Err(why @ (LedgerError::Overspent(_) | LedgerError::AlreadyDebited { .. })) => {
                tracing::error!(round = at.round, "not uploaded: {why}");
                Ok(false)
            }
            Err(why @ LedgerError::InTheRound { .. }) => {
                tracing::error!(round = at.round, "not uploaded: {why}");
                // The core takes part in no other round of the run then.
                self.look_at_ledger(run, None)?;
                Ok(false)
            }
            Err(why) => Err(why.into()),
        }
    }

    fn training_failed(&mut self, at: Attempt, why: String) {
        let text = format!(
            "training failed in round {}: nothing of this silo's data is in it, its budget is spent all the same, and no epsilon \
             covers what is missing; the log says why",
            at.round
        );
        self.alarms.later(move |alarm| alarm.raise(Kind::Training, &text, &why));
    }
}
