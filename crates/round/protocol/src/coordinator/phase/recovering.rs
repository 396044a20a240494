//! Enough shares are here; a worker opens the sum and steps the model. Nobody is waited for any more.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use secagg::{ClientId, SharedCohort, UnmaskShares};

use super::Round;
use crate::coordinator::RecoverJob;
use crate::message::UploadHeader;

pub(crate) struct Recovering {
    pub(crate) round: Round,
    pub(crate) cohort: Arc<SharedCohort>,
    pub(crate) included: BTreeSet<ClientId>,
    pub(crate) staged: BTreeMap<ClientId, UploadHeader>,
    pub(crate) answers: BTreeMap<ClientId, UnmaskShares>,
}

impl Recovering {
    pub(crate) fn job(&self, parent_round: u64) -> RecoverJob {
        RecoverJob {
            at: self.round.at,
            cohort: Arc::clone(&self.cohort),
            included: self.included.clone(),
            uploads: self.staged.values().cloned().collect(),
            answers: self.answers.clone(),
            parent_round,
        }
    }
}
