//! What the daemon's log says of records and refusals.

use protocol::{ClientRecord, Decline};

pub(super) fn note(record: &ClientRecord) {
    match record {
        ClientRecord::Joined { run_id, plan, .. } => {
            tracing::info!(run = run_id.short(), plan = plan.short(), "joined the run");
        }
        ClientRecord::SignedIncluded { at, .. } => {
            tracing::info!(round = at.round, attempt = at.attempt, "included in the sum");
        }
        ClientRecord::Advertised { at } => tracing::debug!(round = at.round, "keys advertised"),
        ClientRecord::Debited { at, .. } => tracing::debug!(round = at.round, "debited, uploading"),
        ClientRecord::Unmasked { at, .. } => tracing::debug!(round = at.round, "shares returned"),
        ClientRecord::RosterAdopted { epoch, .. } => tracing::info!(epoch, "a later roster is in force here"),
        ClientRecord::DataCommitted { commitment } => {
            tracing::info!(told = commitment.is_some(), "what is told of the data in this run is fixed");
        }
        ClientRecord::ChainHead(_) => tracing::debug!("a checkpoint's record follows from the chain"),
        ClientRecord::StepVerified { .. } => tracing::debug!("a checkpoint follows from its published sum"),
        ClientRecord::UploadReceipted { index, .. } => {
            tracing::debug!(index, "the coordinator's log tells of the upload");
        }
        ClientRecord::WitnessBegun => {
            tracing::info!("a state of the coordinator's audit log is remembered from here on");
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
