//! U3 is fixed, once; a quorum of its members signs it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use plan::Plan;
use secagg::{ClientId, IncludedSignature, SharedCohort};

use super::{Count, Round, Verdict, once};
use crate::Timestamp;
use crate::message::{Rejection, RoundOutcome, ToClient, UploadHeader};

pub(crate) struct Consistency {
    pub(crate) round: Round,
    pub(crate) cohort: Arc<SharedCohort>,
    pub(crate) included: BTreeSet<ClientId>,
    pub(crate) staged: BTreeMap<ClientId, UploadHeader>,
    pub(crate) signatures: BTreeMap<ClientId, IncludedSignature>,
}

impl Consistency {
    pub(crate) fn admit(&self, from: ClientId, signature: &IncludedSignature) -> Result<bool, Rejection> {
        if signature.id != from || !self.included.contains(&from) {
            return Err(Rejection::NotInCohort);
        }
        if !once(self.signatures.get(&from), signature)? {
            return Ok(false);
        }
        self.cohort
            .verify_included_signature(&self.included, signature)
            .map_err(|why| Rejection::Invalid(why.to_string()))?;
        Ok(true)
    }

    pub(super) fn message_for(&self, client: ClientId) -> Option<ToClient> {
        (self.included.contains(&client) && !self.signatures.contains_key(&client)).then(|| {
            ToClient::Included { at: self.round.at, included: self.included.iter().copied().collect() }
        })
    }

    pub(super) fn awaited(&self) -> Vec<ClientId> {
        self.round.awaited(self.included.iter().copied(), |client| self.signatures.contains_key(client))
    }

    pub(super) fn verdict(&self, now: Timestamp, plan: &Plan) -> Verdict {
        let count = Count {
            answered: self.signatures.len(),
            awaited: self.awaited().len(),
            need: self.cohort.threshold().value(),
        };
        let deadline = self.round.deadline(plan, super::CONSISTENCY_PERCENT);
        count.quorum(now, deadline, |got, need| RoundOutcome::TooFewSignatures { got, need })
    }
}
