//! A silo as a witness of the coordinator's audit log: when it looks, what it believes, what it keeps.
//!
//! Owns: [`SiloWitness`], which verifies what is [`ShownLog`], remembers it, cosigns it and keeps receipts of the silo's own
//! [`Uploads`]; and when the log is looked at again ([`Prompt`], [`Pause`]).
//!
//! Does not: call anybody, wait, or decide whether the silo goes on under what it has seen: the core does that, from
//! [`Witnessed`](protocol::Witnessed).
//!
//! ```text
//!               ShownLog                      Look::seen
//! coordinator ─────────> SiloWitness::look ──────────────> the core, whatever becomes of the rest
//!                        remembers, fsync    Look::reported
//!                                           ──────────────> the log, as this silo's cosignature, where all was believed
//! ```
//!
//! A coordinator that rewrites its history, or shows two, contradicts what it signed: both texts are kept, and
//! [`LookFault::is_contradiction`] says so. A receipt is kept of each of the silo's own uploads, once, and of nothing else.
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

mod cosigned;
mod error;
mod looking;
#[cfg(any(test, feature = "samples"))]
pub mod samples;
mod silo;
mod uploads;

pub use cosigned::TimesLost;
pub use error::{ForgottenLog, LookFault, OpenFault, ReceiptFault};
pub use looking::{COSIGN_AGAIN, Pause, Prompt, SOON};
pub use silo::{Cosignature, Look, ShownLog, ShownReceipt, SiloWitness, memory_file};
pub use uploads::Uploads;
