//! U1 is fixed; each member seals a share of its two secrets to every other.

use std::collections::BTreeMap;

use plan::Plan;
use secagg::{ClientId, FixedCohort, ShareBundle};

use super::{Count, Round, Verdict, once};
use crate::Timestamp;
use crate::message::{Rejection, RoundOutcome, ToClient};

pub(crate) struct Sharing {
    pub(crate) round: Round,
    pub(crate) cohort: FixedCohort,
    pub(crate) bundles: BTreeMap<ClientId, ShareBundle>,
}

impl Sharing {
    pub(crate) fn admit(&self, from: ClientId, bundle: &ShareBundle) -> Result<bool, Rejection> {
        let member = self.cohort.u1().contains(&from);
        if bundle.sender != from || !member || self.round.dropped.contains_key(&from) {
            return Err(Rejection::NotInCohort);
        }
        if !once(self.bundles.get(&from), bundle)? {
            return Ok(false);
        }
        self.cohort.verify_bundle(bundle).map_err(|why| Rejection::Invalid(why.to_string()))?;
        Ok(true)
    }

    pub(super) fn message_for(&self, client: ClientId) -> Option<ToClient> {
        (self.cohort.u1().contains(&client) && !self.bundles.contains_key(&client))
            .then(|| ToClient::Roster { at: self.round.at, adverts: self.cohort.adverts().to_vec() })
    }

    pub(super) fn awaited(&self) -> Vec<ClientId> {
        self.round.awaited(self.cohort.u1().into_iter(), |client| self.bundles.contains_key(client))
    }

    pub(super) fn verdict(&self, now: Timestamp, plan: &Plan) -> Verdict {
        let count =
            Count { answered: self.bundles.len(), awaited: self.awaited().len(), need: self.cohort.quorum() };
        let patience = self.round.since.plus_ms(plan.timing.minimum_wait_ms);
        let deadline = self.round.deadline(plan, super::SHARE_PERCENT);
        count.inclusive(now, patience, deadline, |got, need| RoundOutcome::TooFewShares { got, need })
    }
}
