//! U3 is fixed, once; a quorum of its members signs it.

use std::collections::BTreeMap;

use run_status::{Owed, RunPhase};
use secagg::{ClientId, IncludedSignature};

use super::{Asking, Kind, Sum, Unmasking, admit};
use crate::record::Record;
use messages::{Rejection, RoundOutcome};

pub(crate) struct Consistency {
    pub(crate) sum: Sum,
    pub(crate) signatures: BTreeMap<ClientId, IncludedSignature>,
}

pub(super) static KIND: Kind = Kind {
    name: RunPhase::ConsistencyCheck,
    owed: Owed::Signature,
    deadline_percent: 92,
    silence: None,
    too_few: |got, need| RoundOutcome::TooFewSignatures { got, need },
    end: |now| Record::UnmaskRequested { now },
};

impl Consistency {
    pub(crate) fn admit(&self, from: ClientId, signature: &IncludedSignature) -> Result<bool, Rejection> {
        let asked = signature.id == from && self.sum.included.contains(&from);
        admit(asked, self.signatures.get(&from), signature, || {
            self.sum.cohort.verify_included_signature(&self.sum.included, signature)
        })
    }

    pub(super) fn asking(&self) -> Asking<'_> {
        let need = self.sum.cohort.threshold().value();
        Asking { asked: &self.sum.included, answered: &self.signatures, need }
    }

    pub(super) fn request(self) -> Unmasking {
        let signatures = self.signatures.into_values().collect();
        Unmasking { sum: self.sum, signatures, answers: BTreeMap::new() }
    }
}
