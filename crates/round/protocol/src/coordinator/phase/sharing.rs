//! U1 is fixed; each member seals a share of its two secrets to every other.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use run_status::{Owed, RunPhase};
use secagg::{ClientId, FixedCohort, ShareBundle};

use super::{Asking, Kind, Round, Uploading, admit};
use crate::invariant::invariant;
use crate::record::Record;
use messages::{DropReason, Rejection, RoundOutcome};

pub(crate) struct Sharing {
    pub(crate) cohort: FixedCohort,
    pub(crate) u1: BTreeSet<ClientId>,
    pub(crate) bundles: BTreeMap<ClientId, ShareBundle>,
}

pub(super) static KIND: Kind = Kind {
    name: RunPhase::SharingKeys,
    owed: Owed::KeyShares,
    deadline_percent: 65,
    silence: Some(DropReason::SilentAtShareKeys),
    too_few: |got, need| RoundOutcome::TooFewShares { got, need },
    end: |now| Record::SharesFixed { now },
};

impl Sharing {
    pub(crate) fn admit(
        &self,
        round: &Round,
        from: ClientId,
        bundle: &ShareBundle,
    ) -> Result<bool, Rejection> {
        let asked = bundle.sender == from && self.u1.contains(&from) && round.takes_part(from);
        admit(asked, self.bundles.get(&from), bundle, || self.cohort.verify_bundle(bundle))
    }

    pub(super) fn asking(&self) -> Asking<'_> {
        Asking { asked: &self.u1, answered: &self.bundles, need: self.cohort.quorum() }
    }

    pub(super) fn fix_u2(self) -> Uploading {
        match self.cohort.fix_u2(&self.bundles) {
            Ok(cohort) => Uploading { u2: cohort.u2(), cohort: Arc::new(cohort), staged: BTreeMap::new() },
            Err(why) => invariant!("C2", "bundles that were admitted one by one make no U2: {why}"),
        }
    }
}
