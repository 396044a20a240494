//! What a silo's data has spent, whichever run, daemon or version of the data spent it.
//!
//! Owns: the [`Entry`] and its bytes, the hash chain over them ([`Chain`]), the file that several daemons share
//! ([`Ledger`]), what runs that are not over may still spend ([`RunClaim`]), the anchor outside of the machine by which a rollback is noticed, the composition of all entries
//! ([`Account`]), the salt with which versions of the data are committed to ([`Salt`]), and which were ([`DeclaredFile`]).
//!
//! Does not: decide what a round costs, know the time, or take back what was debited.
//!
//! ```text
//! reserve:  lock ─> read, check the chain ─> check the anchor ─> compose, compare with the limits
//!                ─> append, fsync ─> anchor: append, fsync ─> unlock ─> only now may anything leave the silo
//! ```
//!
//! The file is text, one line an entry, and each line begins with what the anchor repeats of it:
//!
//! ```text
//! folkmoot-ledger 1 plain DATASET          or: sealed
//! 1 HASH {"time_ms":…,"what":{"kind":"debit",…}}
//! 2 HASH …                                 HASH covers the hash before it, the number and the rest of the line
//! ```
//!
//! In a sealed ledger the rest of a line is the sealed entry in hexadecimal; number, hash and length stay readable.
//!
//! The ledger is written before the anchor. So an anchor that is one write behind (a line, or two where training failed) means a
//! crash between the two, and is completed; an anchor that is ahead can only mean that the ledger was rolled back.
//!
//! ```
//! use accounting::{DpEvent, Relation, Unit};
//! use ledger::{Cost, Ledger, Limits, Release};
//! use params::Digest;
//!
//! # let folder = tempfile::tempdir()?;
//! let ledger = Ledger::new(folder.path(), "admissions-2025", None, None)?;
//! let limits = Limits { epsilon_max: 1.0, delta: 1e-6, period: None, releases_max: None };
//! let cost = Cost { event: DpEvent::Gaussian { noise_multiplier: 20.0 }, count: 1 };
//! let mut release = Release {
//!     daemon: "silo-3".into(),
//!     run: Digest::sha256(b"run"),
//!     run_name: "readmission".into(),
//!     plan: Digest::sha256(b"plan"),
//!     round: 1,
//!     attempt: 1,
//!     model: Digest::sha256(b"model"),
//!     upload: Digest::sha256(b"upload"),
//!     data_version: Some(Digest::sha256(b"data")),
//!     mode: "distributed_dp_fedavg".into(),
//!     unit: Some(Unit::Silo),
//!     relation: Some(Relation::ZeroOut),
//!     noise_by: "every silo, a share each".into(),
//! };
//! ledger.reserve(release.clone(), Some(cost.clone()), &limits, 1_760_000_000_000)?;
//! // Another run on the same data shares the account.
//! release.run = Digest::sha256(b"another run");
//! ledger.reserve(release, Some(cost), &limits, 1_760_000_001_000)?;
//! let account = ledger.inspect()?.account;
//! assert_eq!(account.runs(1e-6).len(), 2);
//! assert!(account.total(1e-6).epsilon() < 1.0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

mod account;
mod anchor;
mod chain;
mod claims;
mod declared;
mod entry;
mod error;
mod file;
mod reading;
mod salt;
mod sharing;
mod shown;
mod spending;

pub use account::{Account, Bound, Limits, Overspent, PeriodLimit, RunAccount, Total};
pub use anchor::{AnchorError, check_anchor};
pub use chain::{Chain, LedgerChainError, Line};
pub use claims::{ClaimLimits, Next, OpenClaim, RunClaim};
pub use declared::{DECLARED_SUFFIX, Declared, DeclaredFile, Statement};
pub use entry::{Cost, Entry, EntryError, LedgerHead, Release, What};
pub use error::LedgerError;
pub use file::{Inspected, Ledger, SUFFIX, dataset_name, open_entries, open_shared};
pub use reading::{ReadError, account, entries, find, open_vault, read};
pub use salt::{Nonce, SALT_SUFFIX, Salt};
pub use shown::UNFINISHED_LINE;
pub use spending::{
    Approximation, ClaimShown, FirstOpening, Opening, RandomWord, RunDeclared, RunSpending, Spending, Spent,
};

#[cfg(any(test, feature = "samples"))]
pub mod samples;
