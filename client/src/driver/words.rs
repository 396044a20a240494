//! What the daemon's log says of records and refusals.

use protocol::{ClientRecord, Decline};

/// Why a round is sat out that another silo with the same data is in, and what its operator is to do.
pub(super) const TWICE: &str = "this one sits it out, since in one sum the data would count twice; have one of the two take part in this federation";

/// What the operator hears where a random word stands for the data's version.
pub(super) const UNDECLARED: &str = "the data was not read within the plan's time, or could not be: the version that the run's cards name for this \
     silo is a random word that opens to nothing; the log says why it could not be read";

pub(super) fn note(record: &ClientRecord) {
    match record {
        ClientRecord::Joined { run_id, plan, .. } => {
            tracing::info!(run = run_id.short(), plan = plan.short(), "joined the run");
        }
        ClientRecord::SignedIncluded { at, .. } => {
            tracing::info!(round = at.round, attempt = at.attempt, "signed which silos are in the sum");
        }
        ClientRecord::Advertised { at } => tracing::debug!(round = at.round, "keys advertised"),
        ClientRecord::Debited { at, .. } => tracing::debug!(round = at.round, "debited, uploading"),
        ClientRecord::Unmasked { at, .. } => tracing::debug!(round = at.round, "shares returned"),
        ClientRecord::RosterAdopted { epoch, .. } => tracing::info!(epoch, "a later roster is in force here"),
        ClientRecord::DataCommitted { commitment } => {
            tracing::info!(
                declared = commitment.is_some(),
                "what is declared of the data in this run is fixed"
            );
        }
        ClientRecord::DataNotDeclared { .. } => {
            tracing::info!("what stands for the data's version in this run is fixed, and opens to nothing");
        }
        ClientRecord::TrainingFailed { at } => {
            tracing::debug!(round = at.round, "nothing of the data is in what is uploaded");
        }
        ClientRecord::ChainHead(_) => tracing::debug!("a checkpoint's record follows from the chain"),
        ClientRecord::StepVerified { .. } => tracing::debug!("a checkpoint follows from its published sum"),
        ClientRecord::UploadReceipted { index, .. } => {
            tracing::debug!(index, "the coordinator's log tells of the upload");
        }
        ClientRecord::WitnessBegun => {
            tracing::info!("a state of the coordinator's audit log is remembered from here on");
        }
        ClientRecord::OfferAnswered(answered) => {
            tracing::info!(
                plan = answered.plan.short(),
                room = answered.admitted,
                "this silo looked at its balance for a plan that it was offered"
            );
        }
        ClientRecord::RunOver | ClientRecord::RoundsBefore { .. } | ClientRecord::AboutPersons => {
            tracing::debug!(?record, "noted");
        }
        ClientRecord::SetsFixed { .. } | ClientRecord::WitnessForgotten { .. } => {}
    }
}

pub(super) fn decline_code(decline: &Decline) -> &str {
    match decline {
        Decline::Policy { code, .. } => code,
        Decline::SitsOut => "SITS_OUT",
        Decline::Unavailable => "UNAVAILABLE",
        Decline::AwaitsOperator(_) => "ROSTER_AWAITS_APPROVAL",
        Decline::CoordinatorFault(_) => "COORDINATOR_FAULT",
    }
}

/// Whether the message holds all that this silo knows of why it declines.
pub(super) fn says_all(decline: &Decline) -> bool {
    match decline {
        Decline::SitsOut | Decline::Unavailable => true,
        Decline::Policy { .. } | Decline::AwaitsOperator(_) | Decline::CoordinatorFault(_) => false,
    }
}
