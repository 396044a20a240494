//! The seal of a process that reads data: what it can reach afterwards is a list of paths and its standard streams, and nothing
//! undoes it.
//!
//! Owns: [`Seal`], which closes; what is asked for ([`Demand`], [`SealProfile`]), what was reached ([`Level`]), and why it was not
//! enough ([`SealError`]).
//!
//! Does not: start processes, or know what the data is. Whoever is to be sealed calls it, in the first lines of its own main: a
//! process can only be shut in by itself, and only before it has a second thread.
//!
//! A process that has the network instead is kept from the data alone: [`shut_out`].
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

mod demand;
mod error;
mod level;
#[cfg(target_os = "linux")]
mod linux;
#[doc = include_str!("manual.md")]
pub mod manual {}
mod seal;
mod shut_out;

pub use demand::{Demand, SealProfile, UnknownDemand};
pub use error::SealError;
pub use level::{FilterDigest, Level, Namespace};
pub use seal::{Seal, close_descriptors};
pub use shut_out::{SYSTEM_PATHS, ShutOut, ShutOutLevel, shut_out};
