//! The attempt in progress: the only place where a round's secrets live, in memory and nowhere else.

use std::collections::BTreeSet;
use std::sync::Arc;

use checkpoint::Manifest;
use identity::AuthorisedRoster;
use params::Digest;
use plan::{AuthoredPlan, Origin};
use secagg::{
    Advert, Advertised, ClientId, Delivery, HeldShares, IncludedSignature, ShareBundle, SharesSent,
    SignedIncluded,
};

use super::JobId;
use crate::Timestamp;
use messages::{Attempt, UploadHeader};

/// One attempt. Dropping it wipes its secrets.
pub(super) struct Round {
    pub(super) at: Attempt,
    pub(super) run: Digest,
    /// The one that the masks are bound to: the newest when the attempt was opened.
    pub(super) roster: Arc<AuthorisedRoster>,
    pub(super) plan: Arc<AuthoredPlan>,
    pub(super) model: Digest,
    /// What the update is made from and the masks are bound to; see [`crate::round_start`].
    pub(super) origin: Origin,
    /// The training, and the name of all that the shell holds of the attempt.
    pub(super) work: JobId,
    pub(super) opened: Timestamp,
    /// The wall clock's time when it was opened.
    pub(super) opened_wall: Timestamp,
    pub(super) step: Step,
    /// What was accepted and said, so that a repeated message gets the same bytes and another one none.
    pub(super) adverts: Vec<Advert>,
    pub(super) bundle: Option<ShareBundle>,
    pub(super) delivery: Option<Delivery>,
}

/// How far it has come. Each step owns the secrets that the next one needs.
pub(super) enum Step {
    /// What is before the round is verified.
    Preparing {
        head: Arc<Manifest>,
    },
    Training,
    Trained,
    Advertised {
        state: Advertised,
        advert: Advert,
    },
    Shared {
        state: SharesSent,
    },
    Masking {
        job: JobId,
        r2: Digest,
        held: HeldShares,
    },
    Uploaded {
        held: HeldShares,
        header: UploadHeader,
        durable: bool,
    },
    Signed {
        state: SignedIncluded,
        included: BTreeSet<ClientId>,
        signature: IncludedSignature,
    },
    Answered {
        included: BTreeSet<ClientId>,
    },
}

impl Round {
    /// Whether it is this attempt of this run.
    pub(super) fn is(&self, run: Option<Digest>, at: Attempt) -> bool {
        run == Some(self.run) && at == self.at
    }

    pub(super) fn ready_at(&self) -> Timestamp {
        self.opened.plus_ms(self.plan.timing.ready_after_ms)
    }

    /// Whether this is the job that its vector is waited for of.
    pub(super) fn is_masked_by(&self, job: JobId) -> bool {
        matches!(self.step, Step::Masking { job: masking, .. } if masking == job)
    }

    pub(super) fn advert(&self) -> Option<&Advert> {
        match &self.step {
            Step::Advertised { advert, .. } => Some(advert),
            _ => None,
        }
    }

    /// Whether this is the first news that the upload is durable.
    pub(super) fn upload_is_durable(&mut self) -> bool {
        match &mut self.step {
            Step::Uploaded { durable, .. } => !std::mem::replace(durable, true),
            _ => false,
        }
    }
}

/// U1.
pub(super) fn cohort_of(adverts: &[Advert]) -> BTreeSet<ClientId> {
    adverts.iter().map(|advert| advert.id).collect()
}

impl Step {
    /// Whether nothing of the update has been debited yet.
    pub(super) fn before_upload(&self) -> bool {
        !matches!(self, Self::Uploaded { .. } | Self::Signed { .. } | Self::Answered { .. })
    }

    /// Whether an included set was signed.
    pub(super) fn has_signed(&self) -> bool {
        matches!(self, Self::Signed { .. } | Self::Answered { .. })
    }

    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Preparing { .. } => "verifying what is before the round",
            Self::Training => "training",
            Self::Trained => "trained, holding until it may say so",
            Self::Advertised { .. } => "keys advertised",
            Self::Shared { .. } => "shares sent",
            Self::Masking { .. } => "masking",
            Self::Uploaded { .. } => "masked vector sent",
            Self::Signed { .. } => "included set signed",
            Self::Answered { .. } => "shares returned",
        }
    }
}
