//! What a silo's journal and the ledger of its data say of each other, and whether an upload may be debited.
//!
//! Owns: [`SiloSpending`], which claims what a run may cost before it is joined, is asked before a round is opened and debits before
//! anything can leave, and which there is only once the two have been compared ([`UncheckedSpending::check`]); [`SiloBooks`], the same
//! answer for an operator who only asks; and [`SpendingError`], which says which of the two was lost or rolled back.
//!
//! Does not: decide whether a round is taken part in (the core does, from a [`LedgerView`](protocol::LedgerView)), write the
//! journal, or know the time.
//!
//! The journal tells what this daemon did; the ledger, what all daemons did with the data. Each finds the other lost or
//! rolled back, which ends the daemon until an operator acts: the ledger lacks a debit of the journal, or holds one of an
//! attempt that the journal knows nothing of. The ledger is written first, so one that only it holds, of an attempt that
//! the journal began, was made before a crash: its round is sat out.
//!
//! ```
//! use identity::IdentityKey;
//! use ledger::Ledger;
//! use plan::Policy;
//! use spending::UncheckedSpending;
//!
//! # let folder = tempfile::tempdir()?;
//! # let key = IdentityKey::from_secret_hex(&"01".repeat(32))?;
//! let ledger = Ledger::new(folder.path(), "admissions-2025", None, None)?;
//! let spending = UncheckedSpending::new(ledger, &key, &Policy::for_authors([]), || 1_760_000_000_000);
//! // Of a journal and a ledger that begin, neither lacks what the other has.
//! let spending = spending.check(&[])?;
//! assert_eq!(spending.view(None, None)?.epsilon_spent, 0.0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Without that nothing is debited:
//!
//! ```compile_fail,E0599
//! fn debit(mut spending: spending::UncheckedSpending, upload: spending::Upload<'_>) {
//!     spending.reserve(upload).unwrap();
//! }
//! ```
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

mod books;
mod claims;
mod error;

mod journal;
mod silo;

pub use books::{OfferStanding, SiloBooks, SiloBooksError, refusal_text};
pub use claims::unaccepted_exact_releases;
pub use error::{LostJournal, RolledBack, SpendingError};
pub use silo::{AcceptedLoss, SiloSpending, UncheckedSpending, Upload};
