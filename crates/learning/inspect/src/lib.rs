//! Proposes a registration from a file, for a person to confirm.
//!
//! Owns: [`dialect_of`], which says how a text file seems to be written, from its first bytes alone and with its reasons; and
//! [`Proposal`], which then reads the whole file, or all files of a folder, by that, says what stands in each column, and writes the registration, in a
//! plan's words where there is one.
//!
//! Does not: decide. What a proposal says is what is found in one file; nothing is inferred where a silo's daemon starts or trains.
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

mod columns;
mod dialect;
mod files;
mod proposal;
mod text;
mod words;

pub use dialect::dialect_of;
pub use proposal::{InspectError, Proposal};
