//! A quorum has signed; members return the shares that open the sum.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use plan::Plan;
use secagg::{ClientId, IncludedSignature, SharedCohort, UnmaskShares};

use super::{Count, Round, Verdict, once};
use crate::Timestamp;
use crate::message::{Rejection, RoundOutcome, ToClient, UploadHeader};

pub(crate) struct Unmasking {
    pub(crate) round: Round,
    pub(crate) cohort: Arc<SharedCohort>,
    pub(crate) included: BTreeSet<ClientId>,
    pub(crate) staged: BTreeMap<ClientId, UploadHeader>,
    /// The quorum's, in the order of their ids; the same in every request.
    pub(crate) signatures: Vec<IncludedSignature>,
    pub(crate) answers: BTreeMap<ClientId, UnmaskShares>,
}

impl Unmasking {
    pub(crate) fn admit(&self, from: ClientId, shares: &UnmaskShares) -> Result<bool, Rejection> {
        if shares.id != from || !self.included.contains(&from) || self.round.dropped.contains_key(&from) {
            return Err(Rejection::NotInCohort);
        }
        if !once(self.answers.get(&from), shares)? {
            return Ok(false);
        }
        self.cohort
            .verify_unmask(&self.included, shares)
            .map_err(|why| Rejection::Invalid(why.to_string()))?;
        Ok(true)
    }

    pub(super) fn message_for(&self, client: ClientId) -> Option<ToClient> {
        (self.included.contains(&client) && !self.answers.contains_key(&client)).then(|| {
            ToClient::UnmaskRequest {
                at: self.round.at,
                included: self.included.iter().copied().collect(),
                signatures: self.signatures.clone(),
            }
        })
    }

    pub(super) fn awaited(&self) -> Vec<ClientId> {
        self.round.awaited(self.included.iter().copied(), |client| self.answers.contains_key(client))
    }

    pub(super) fn verdict(&self, now: Timestamp, plan: &Plan) -> Verdict {
        let count = Count {
            answered: self.answers.len(),
            awaited: self.awaited().len(),
            need: self.cohort.threshold().value(),
        };
        let deadline = self.round.deadline(plan, super::UNMASK_PERCENT);
        count.quorum(now, deadline, |got, need| RoundOutcome::TooFewUnmaskAnswers { got, need })
    }
}
