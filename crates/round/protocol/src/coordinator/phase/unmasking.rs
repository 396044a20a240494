//! A quorum has signed; members return the shares that open the sum.

use std::collections::BTreeMap;

use run_status::{Owed, RunPhase};
use secagg::{ClientId, IncludedSignature, UnmaskShares};

use super::{Asking, Kind, Round, Sum, Summing, admit};
use crate::record::Record;
use messages::{Rejection, RoundOutcome};

pub(crate) struct Unmasking {
    pub(crate) sum: Sum,
    /// The quorum's, in the order of their ids; the same in every request.
    pub(crate) signatures: Vec<IncludedSignature>,
    pub(crate) answers: BTreeMap<ClientId, UnmaskShares>,
}

pub(super) static KIND: Kind = Kind {
    name: RunPhase::Unmasking,
    owed: Owed::UnmaskShares,
    deadline_percent: 100,
    silence: None,
    too_few: |got, need| RoundOutcome::TooFewUnmaskAnswers { got, need },
    end: |now| Record::SharesComplete { now },
};

impl Unmasking {
    pub(crate) fn admit(
        &self,
        round: &Round,
        from: ClientId,
        shares: &UnmaskShares,
    ) -> Result<bool, Rejection> {
        let asked = shares.id == from && self.sum.included.contains(&from) && round.takes_part(from);
        admit(asked, self.answers.get(&from), shares, || {
            self.sum.cohort.verify_unmask(&self.sum.included, shares)
        })
    }

    pub(super) fn asking(&self) -> Asking<'_> {
        let need = self.sum.cohort.threshold().value();
        Asking { asked: &self.sum.included, answered: &self.answers, need }
    }

    pub(super) fn complete(self) -> Summing {
        Summing { sum: self.sum, answers: self.answers }
    }
}
