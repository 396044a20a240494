//! Why a ledger is not read, not written, or does not admit a debit.

use std::io;
use std::path::PathBuf;

use vault::VaultError;

use crate::account::Overspent;
use crate::anchor::AnchorError;
use crate::chain::LedgerChainError;
use crate::entry::EntryError;

/// A ledger that refuses or fails. Nothing may leave the silo then.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// A file operation failed.
    #[error("cannot {action} `{}`: check space and permissions", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// The name cannot be a file's.
    #[error(
        "{name:?} is no name of a data set: use 1 to 64 letters, digits, `.`, `_` and `-`, and begin with a letter or digit"
    )]
    Name { name: String },
    /// Not the ledger that was written.
    #[error("the ledger `{}` {why}; restore the newest copy of it, and do not delete it: it holds what this silo's data has spent", path.display())]
    Chain {
        path: PathBuf,
        /// What is wrong with it.
        why: LedgerChainError,
    },
    /// Of other data.
    #[error("the ledger `{}` is of the data set `{found}`: name the one that the data is of", path.display())]
    OtherDataset {
        path: PathBuf,
        /// What it says.
        found: String,
    },
    /// Sealed, and no vault was given.
    #[error("the ledger `{}` is sealed: configure the master key that it was made with", path.display())]
    Sealed { path: PathBuf },
    /// In the clear, and a vault was given.
    #[error(
        "the ledger `{}` is in the clear, and is never mixed with what is sealed: go on without a master key; in another \
         folder what was spent would be forgotten",
        path.display()
    )]
    NotSealed { path: PathBuf },
    /// An entry does not open.
    #[error("entry {sequence} of the ledger `{}` does not open", path.display())]
    Vault {
        path: PathBuf,
        sequence: u64,
        #[source]
        source: VaultError,
    },
    /// An entry's text is not one.
    #[error("entry {sequence} of the ledger `{}` cannot be read; use a release that reads it", path.display())]
    Entry {
        path: PathBuf,
        sequence: u64,
        #[source]
        source: EntryError,
    },
    /// The anchor tells of another ledger.
    #[error(
        "`{}` does not agree with the ledger `{}`: {why}; restore the newer of the two; where it is lost for good, \
         `folkmoot client ledger accept --config FILE --reason TEXT` goes on without it, and says so in the ledger",
        anchor.display(),
        path.display()
    )]
    Anchor {
        path: PathBuf,
        anchor: PathBuf,
        /// How they differ.
        why: Box<AnchorError>,
    },
    /// No salt of this data set, or one that the vault does not open.
    #[error(
        "`{}` is not this data set's salt, or is sealed under another master key: restore it; without it, the commitments \
         to the data's versions cannot be opened; where it is lost for good, remove it, and another is drawn",
        path.display()
    )]
    Salt { path: PathBuf },
    /// No record of what was declared of this data set, or one that the vault does not open.
    #[error(
        "`{}` is not this data set's record of what was declared, is damaged, or is sealed under another master key: restore it; where it \
         is lost for good, remove it: what was declared in runs without an upload cannot be opened then",
        path.display()
    )]
    Declared { path: PathBuf },
    /// The limit is reached.
    #[error(transparent)]
    Overspent(#[from] Overspent),
    /// The daemon has uploaded in this round before.
    #[error(
        "entry {sequence} of the ledger already debits round {round} of this run for this daemon, which therefore sits it out"
    )]
    AlreadyDebited { sequence: u64, round: u64 },
    /// Another daemon has uploaded of the same data in this round.
    #[error(
        "entry {sequence} of the ledger debits round {round} of this run for another silo with the same data: in one sum the \
         data would count twice, and its cost is that of once; have one of the two silos take part in this federation"
    )]
    InTheRound { sequence: u64, round: u64 },
}
