//! Why a run's folder does not give or take something.

use std::io;

use attest::{BundleError, EvidenceError};
use card::CardError;
use checkpoint::{ManifestError, SignatureError};
use protocol::RecordError;
use published::CheckpointFault;
use store::StoreError;

/// See the module.
#[derive(Debug, thiserror::Error)]
pub enum RunFolderError {
    /// The store refuses or fails.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A published file is not there or is not the one that was signed.
    #[error(transparent)]
    Published(#[from] CheckpointFault),
    /// A record of the journal that does not decode.
    #[error("journal record {number} of this version")]
    Record {
        /// Counted from 1.
        number: u64,
        #[source]
        why: RecordError,
    },
    /// A record of the chain that is not validly signed.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// A record of the chain that does not read.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// A card that cannot be written.
    #[error(transparent)]
    Card(#[from] CardError),
    /// A version that cannot be signed for public tools.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// A round whose evidence cannot be signed for public tools.
    #[error(transparent)]
    Evidence(#[from] EvidenceError),
    /// A staged file that cannot be read.
    #[error(transparent)]
    Read(#[from] io::Error),
    /// Something that was written is gone or is not what it was.
    #[error("{what}; restore it from a copy")]
    Damaged {
        /// What, and what it is needed for.
        what: String,
        #[source]
        why: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Version 0 would not be what the plan begins with.
    #[error("the model to begin with is not the one that the plan names")]
    AnotherStart,
    /// Something that no copy gives back.
    #[error("{0}")]
    Lost(String),
}

impl RunFolderError {
    /// For `map_err`: what is damaged.
    pub(crate) fn damaged<E: Into<Box<dyn std::error::Error + Send + Sync>>>(
        what: impl Into<String>,
    ) -> impl FnOnce(E) -> Self {
        let what = what.into();
        |why| Self::Damaged { what, why: why.into() }
    }
}
