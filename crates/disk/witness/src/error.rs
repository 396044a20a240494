//! Why a look at the log came to nothing, or only to a part.

use std::io;
use std::path::PathBuf;

use audit::{EventError, WitnessError};
use store::StoreError;
use tlog::NoteError;

/// Why the witness cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum OpenFault {
    /// The coordinator's key and the federation's name make no key of a log.
    #[error(transparent)]
    Name(NoteError),
    /// The memory cannot be used.
    #[error(transparent)]
    Memory(#[from] WitnessError),
}

/// What was remembered of the log is gone.
#[derive(Debug, thiserror::Error)]
#[error(
    "`{}` is missing, and the journal says that this silo remembered a state of the coordinator's audit log there: \
     without it a rewritten log goes unseen. Restore the file; where it is lost for good, run `folkmoot-client witness \
     forget --config FILE --reason TEXT` and compare the log's checkpoint with another member's", memory.display()
)]
pub struct ForgottenLog {
    /// Where it was kept, in the state folder.
    pub(crate) memory: PathBuf,
}

/// Why what was shown of the log is not believed, or not all of it.
#[derive(Debug, thiserror::Error)]
pub enum LookFault {
    /// A proof that is none.
    #[error("a hash of the proof has another length")]
    HashLength,
    /// The log does not continue what is remembered, or that cannot be written.
    #[error(transparent)]
    Log(#[from] WitnessError),
    /// A receipt that is not kept.
    #[error("the receipt of entry {index}: {why}")]
    Receipt {
        /// Its entry, from 0.
        index: u64,
        /// What is wrong with it.
        #[source]
        why: ReceiptFault,
    },
    /// When others cosigned cannot be kept.
    #[error(transparent)]
    Times(StoreError),
    /// A checkpoint whose cosignatures cannot be read.
    #[error(transparent)]
    Cosignatures(NoteError),
}

impl LookFault {
    /// Whether the log contradicts what its owner signed before: with such a coordinator the silo takes no further part.
    pub fn is_contradiction(&self) -> bool {
        matches!(self, Self::Log(WitnessError::Contradiction { .. }))
    }
}

/// Why a receipt is not kept.
#[derive(Debug, thiserror::Error)]
pub enum ReceiptFault {
    /// It proves nothing.
    #[error(transparent)]
    Proof(#[from] NoteError),
    /// It is of another history, or of a part of this one.
    #[error("it proves that for another state of the log than the one that is remembered")]
    OtherState,
    /// What it proves is no event.
    #[error(transparent)]
    Event(#[from] EventError),
    /// The folder cannot be made.
    #[error(transparent)]
    Folder(#[from] io::Error),
    /// It cannot be written.
    #[error(transparent)]
    Disk(#[from] StoreError),
}
