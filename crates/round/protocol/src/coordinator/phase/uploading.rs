//! U2 is fixed; each member sends its masked vector.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use params::Digest;
use run_status::{Owed, RunPhase};
use secagg::{ClientId, InputSignature, SharedCohort};

use super::{Asking, Consistency, Kind, Round, Sum, admit};
use crate::record::Record;
use messages::{DropReason, Rejection, RoundOutcome, UploadHeader};

pub(crate) struct Uploading {
    pub(crate) cohort: Arc<SharedCohort>,
    pub(crate) u2: BTreeSet<ClientId>,
    pub(crate) staged: BTreeMap<ClientId, UploadHeader>,
}

pub(super) static KIND: Kind = Kind {
    name: RunPhase::MaskedInput,
    owed: Owed::MaskedVector,
    deadline_percent: 85,
    silence: Some(DropReason::SilentAtMaskedInput),
    too_few: |got, need| RoundOutcome::TooFewUploads { got, need },
    end: |now| Record::IncludedFixed { now },
};

impl Uploading {
    /// Whether this vector may be sent; `false` where it has been.
    pub(crate) fn admit(
        &self,
        round: &Round,
        header: &UploadHeader,
        lanes: usize,
    ) -> Result<bool, Rejection> {
        if header.at != round.at {
            return Err(Rejection::StaleAttempt);
        }
        let client = header.client;
        let asked = self.u2.contains(&client) && round.takes_part(client);
        admit(asked, self.staged.get(&client), header, || {
            if header.r2 != Digest::from_bytes(self.cohort.r2().0) {
                return Err("it was masked under another transcript".to_owned());
            }
            if header.lanes != lanes as u64 {
                return Err(format!("it has {} lanes, the plan's vector {lanes}", header.lanes));
            }
            self.cohort
                .verify_input(client, *header.digest.as_bytes(), &InputSignature(header.signature))
                .map_err(|why| why.to_string())
        })
    }

    pub(super) fn asking(&self) -> Asking<'_> {
        let need = self.cohort.cohort().quorum();
        Asking { asked: &self.u2, answered: &self.staged, need }
    }

    pub(super) fn fix_u3(self) -> Consistency {
        let included = self.staged.keys().copied().collect();
        let sum = Sum { cohort: self.cohort, included, staged: self.staged };
        Consistency { sum, signatures: BTreeMap::new() }
    }
}
