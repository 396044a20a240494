//! The silos train; each that is done advertises its keys.

use std::collections::BTreeMap;

use plan::Plan;
use run_status::{Owed, RunPhase};
use secagg::{Advert, ClientId, FixedCohort, Members, verify_advert};

use super::{Asking, Kind, Round, Sharing, admit};
use crate::invariant::invariant;
use crate::record::Record;
use messages::{DropReason, Rejection, RoundOutcome};

pub(crate) struct Advertising {
    /// The plan's smallest cohort.
    pub(crate) minimum: usize,
    pub(crate) adverts: BTreeMap<ClientId, Advert>,
}

pub(super) static KIND: Kind = Kind {
    name: RunPhase::Training,
    owed: Owed::Adverts,
    deadline_percent: 50,
    silence: Some(DropReason::SilentAtAdvertise),
    too_few: |got, need| RoundOutcome::TooFewAdverts { got, need },
    end: |now| Record::AdvertsFixed { now },
};

impl Advertising {
    pub(crate) fn admit(
        &self,
        round: &Round,
        from: ClientId,
        advert: &Advert,
        members: &Members,
        plan: &Plan,
    ) -> Result<bool, Rejection> {
        let asked = advert.id == from && round.takes_part(from);
        admit(asked, self.adverts.get(&from), advert, || {
            verify_advert(round.context, advert, members, plan.excess_noise())
                .map_err(|why| why.to_string())?;
            // Both kinds of key are one set to the cohort: what is admitted here must make one that verifies.
            let repeats = |key: &[u8; 32]| {
                self.adverts.values().any(|other| other.ek_pub == *key || other.mk_pub == *key)
            };
            if advert.ek_pub == advert.mk_pub || repeats(&advert.ek_pub) || repeats(&advert.mk_pub) {
                return Err("it repeats a key".to_owned());
            }
            Ok(())
        })
    }

    pub(super) fn asking<'a>(&'a self, round: &'a Round) -> Asking<'a> {
        Asking { asked: &round.cohort, answered: &self.adverts, need: self.minimum }
    }

    pub(super) fn fix_u1(self, round: &Round, members: &Members, plan: &Plan) -> Sharing {
        let adverts: Vec<Advert> = self.adverts.into_values().collect();
        match FixedCohort::new(round.context, &adverts, members, &plan.floors()) {
            Ok(cohort) => Sharing { u1: cohort.u1(), cohort, bundles: BTreeMap::new() },
            Err(why) => invariant!("C2", "adverts that were admitted one by one make no cohort: {why}"),
        }
    }
}
