//! Why nothing may be uploaded any more.

use std::path::PathBuf;

use ledger::LedgerError;

/// Why nothing may be uploaded any more.
#[derive(Debug, thiserror::Error)]
pub enum SpendingError {
    /// The ledger cannot be used, or does not agree with its anchor.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The ledger lacks what the journal has.
    #[error(transparent)]
    RolledBack(RolledBack),
    /// The journal lacks what the ledger has.
    #[error(transparent)]
    LostJournal(LostJournal),
}

/// A debit of the journal that the ledger does not know.
#[derive(Debug, thiserror::Error)]
#[error(
    "this silo's journal holds {count} debits that the ledger `{}` lacks, the first in round {round} of run {run}: the \
     ledger was rolled back, or is of other data; restore the newest copy of it, or name the data set that this state \
     folder is of; where it is lost for good, `folkmoot client ledger accept --config FILE --reason TEXT` copies them \
     from the journal, and says so in the ledger",
    ledger.display()
)]
pub struct RolledBack {
    pub(crate) count: usize,
    pub(crate) round: u64,
    pub(crate) run: String,
    pub(crate) ledger: PathBuf,
}

/// Debits of the ledger, made by this silo, that its journal knows nothing of.
#[derive(Debug, thiserror::Error)]
#[error(
    "the ledger `{}` holds {count} debits of this silo's own of which its journal knows nothing, the first in round {round} \
     of run {run}: the journal in its state_dir was lost or restored from an old copy, or another copy of this silo runs; \
     without it, rosters older than those it has seen and repeated uploads could be accepted; restore the newest copy of \
     the journal; where it is lost for good, configure the federation's newest roster, and \
     `folkmoot client ledger accept --config FILE --reason TEXT` goes on without it, and says so in the ledger; or enrol \
     this silo anew",
    ledger.display()
)]
pub struct LostJournal {
    pub(crate) count: usize,
    pub(crate) round: u64,
    pub(crate) run: String,
    pub(crate) ledger: PathBuf,
}
