//! The silos train; each that is done advertises its keys.

use std::collections::BTreeMap;

use plan::Plan;
use secagg::{Advert, ClientId, Members, verify_advert};

use super::{Count, Round, Verdict, once};
use crate::Timestamp;
use crate::message::{Rejection, RoundOutcome, ToClient};

pub(crate) struct Advertising {
    pub(crate) round: Round,
    pub(crate) adverts: BTreeMap<ClientId, Advert>,
}

impl Advertising {
    pub(crate) fn admit(
        &self,
        from: ClientId,
        advert: &Advert,
        members: &Members,
        plan: &Plan,
    ) -> Result<bool, Rejection> {
        if advert.id != from || !self.round.cohort.contains(&from) || self.round.dropped.contains_key(&from) {
            return Err(Rejection::NotInCohort);
        }
        if !once(self.adverts.get(&from), advert)? {
            return Ok(false);
        }
        verify_advert(self.round.context, advert, members, plan.excess_noise())
            .map_err(|why| Rejection::Invalid(why.to_string()))?;
        // Both kinds of key are one set to the cohort: what is admitted here must make one that verifies.
        let taken =
            |key: &[u8; 32]| self.adverts.values().any(|other| other.ek_pub == *key || other.mk_pub == *key);
        if advert.ek_pub == advert.mk_pub || taken(&advert.ek_pub) || taken(&advert.mk_pub) {
            return Err(Rejection::Invalid("it repeats a key".into()));
        }
        Ok(true)
    }

    pub(super) fn message_for(&self, client: ClientId) -> Option<ToClient> {
        (self.round.cohort.contains(&client) && !self.adverts.contains_key(&client))
            .then_some(ToClient::Open { at: self.round.at, model: self.round.model })
    }

    pub(super) fn awaited(&self) -> Vec<ClientId> {
        self.round.awaited(self.round.cohort.iter().copied(), |client| self.adverts.contains_key(client))
    }

    /// Nobody is ready before `ready_after_ms`, so patience begins there.
    pub(super) fn patience(&self, plan: &Plan) -> Timestamp {
        self.round.opened.plus_ms(plan.timing.ready_after_ms).plus_ms(plan.timing.minimum_wait_ms)
    }

    pub(super) fn verdict(&self, now: Timestamp, plan: &Plan) -> Verdict {
        let count =
            Count { answered: self.adverts.len(), awaited: self.awaited().len(), need: plan.cohort.minimum };
        let deadline = self.round.deadline(plan, super::ADVERTISE_PERCENT);
        count.inclusive(now, self.patience(plan), deadline, |got, need| RoundOutcome::TooFewAdverts {
            got,
            need,
        })
    }
}
