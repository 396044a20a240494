//! Enough shares are here; a worker opens the sum and steps the model. Nobody is waited for any more.

use std::collections::BTreeMap;
use std::sync::Arc;

use secagg::{ClientId, UnmaskShares};

use super::{Round, Sum};
use crate::coordinator::SumJob;

pub(crate) struct Summing {
    pub(crate) sum: Sum,
    pub(crate) answers: BTreeMap<ClientId, UnmaskShares>,
}

impl Summing {
    pub(crate) fn job(&self, round: &Round, parent_round: u64) -> SumJob {
        SumJob {
            at: round.at,
            cohort: Arc::clone(&self.sum.cohort),
            included: self.sum.included.clone(),
            uploads: self.sum.staged.values().cloned().collect(),
            answers: self.answers.clone(),
            parent_round,
        }
    }
}
