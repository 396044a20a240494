//! U2 is fixed; each member sends its masked vector.

use std::collections::BTreeMap;
use std::sync::Arc;

use params::Digest;
use plan::Plan;
use secagg::{ClientId, InputSignature, SharedCohort};

use super::{Count, Round, Verdict};
use crate::Timestamp;
use crate::message::{Rejection, RoundOutcome, ToClient, UploadHeader};

pub(crate) struct Uploading {
    pub(crate) round: Round,
    pub(crate) cohort: Arc<SharedCohort>,
    pub(crate) staged: BTreeMap<ClientId, UploadHeader>,
}

impl Uploading {
    /// Whether this vector may be sent, or has been.
    pub(crate) fn admit(&self, header: &UploadHeader, lanes: usize) -> Result<(), Rejection> {
        if header.at != self.round.at {
            return Err(Rejection::StaleAttempt);
        }
        let client = header.client;
        if !self.cohort.u2().contains(&client) || self.round.dropped.contains_key(&client) {
            return Err(Rejection::NotInCohort);
        }
        if let Some(held) = self.staged.get(&client) {
            return if held == header { Ok(()) } else { Err(Rejection::Equivocation) };
        }
        if header.r2 != Digest::from_bytes(self.cohort.r2().0) {
            return Err(Rejection::Invalid("it was masked under another transcript".into()));
        }
        if header.lanes != lanes as u64 {
            return Err(Rejection::Invalid(format!(
                "it has {} lanes, the plan's vector {lanes}",
                header.lanes
            )));
        }
        self.cohort
            .verify_input(client, *header.digest.as_bytes(), &InputSignature(header.signature))
            .map_err(|why| Rejection::Invalid(why.to_string()))
    }

    pub(super) fn message_for(&self, client: ClientId) -> Option<ToClient> {
        if !self.cohort.u2().contains(&client) {
            return None;
        }
        let at = self.round.at;
        if self.staged.contains_key(&client) {
            return Some(ToClient::UploadDurable { at });
        }
        self.cohort.delivery_for(client).map(|delivery| ToClient::Deliver { at, delivery })
    }

    pub(super) fn awaited(&self) -> Vec<ClientId> {
        self.round.awaited(self.cohort.u2().into_iter(), |client| self.staged.contains_key(client))
    }

    pub(super) fn verdict(&self, now: Timestamp, plan: &Plan) -> Verdict {
        let count = Count {
            answered: self.staged.len(),
            awaited: self.awaited().len(),
            need: self.cohort.cohort().quorum(),
        };
        let patience = self.round.since.plus_ms(plan.timing.minimum_wait_ms);
        let deadline = self.round.deadline(plan, super::UPLOAD_PERCENT);
        count.inclusive(now, patience, deadline, |got, need| RoundOutcome::TooFewUploads { got, need })
    }
}
