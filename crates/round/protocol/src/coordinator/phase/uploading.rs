//! U2 is fixed; each member sends its masked vector.

use std::collections::BTreeMap;
use std::sync::Arc;

use params::Digest;
use run_status::{Owed, RunPhase};
use secagg::{ClientId, InputSignature, SharedCohort};

use super::{Asking, Consistency, Kind, Round, Sum};
use crate::message::{DropReason, Rejection, RoundOutcome, UploadHeader};
use crate::record::Record;

pub(crate) struct Uploading {
    pub(crate) cohort: Arc<SharedCohort>,
    pub(crate) staged: BTreeMap<ClientId, UploadHeader>,
}

static KIND: Kind = Kind {
    name: RunPhase::MaskedInput,
    owed: Owed::MaskedVector,
    deadline_percent: 85,
    silence: Some(DropReason::SilentAtMaskedInput),
    too_few: |got, need| RoundOutcome::TooFewUploads { got, need },
    end: |now| Record::IncludedFixed { now },
};

impl Uploading {
    /// Whether this vector may be sent, or has been.
    pub(crate) fn admit(&self, round: &Round, header: &UploadHeader, lanes: usize) -> Result<(), Rejection> {
        if header.at != round.at {
            return Err(Rejection::StaleAttempt);
        }
        let client = header.client;
        if !self.cohort.u2().contains(&client) || round.dropped.contains_key(&client) {
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

    pub(super) fn asking(&self) -> Asking {
        Asking {
            kind: &KIND,
            asked: self.cohort.u2(),
            answered: self.staged.keys().copied().collect(),
            need: self.cohort.cohort().quorum(),
        }
    }

    pub(super) fn fix_u3(self) -> Consistency {
        let included = self.staged.keys().copied().collect();
        let sum = Sum { cohort: self.cohort, included, staged: self.staged };
        Consistency { sum, signatures: BTreeMap::new() }
    }
}
