//! Who waits for what may be another's fault, and for how long.
//!
//! Owns: whom complaints keep apart ([`Apart`]), and whom spoiled sums leave out of cohorts ([`Spoiled`]). Neither proves anything,
//! so both are bounded: nobody is put out, and who lies about others waits as long as they do. Does not: know a round, a journal
//! or a message; `protocol` says what happened, in the order of its records, and asks whom to leave out.
//!
//! ```
//! use secagg::ClientId;
//! use suspicion::{Apart, By};
//! let mut apart = Apart::new(1);
//! apart.complained(ClientId(1), ClientId(2), 4);
//! let waits = apart.waiting(&[ClientId(1), ClientId(2), ClientId(3)], 5, By::Turns);
//! assert_eq!(waits, [ClientId(1)].into(), "the one that complained more often");
//! ```
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

mod apart;
mod spoiled;

pub use apart::{Apart, By};
pub use spoiled::Spoiled;
