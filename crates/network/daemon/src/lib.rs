//! What the two daemons share: their clock, the end that a signal asks for, and how a configuration is read.
//!
//! Owns: the time that deadlines are judged by ([`Clock`]), how long a silent peer is waited for ([`patience`]), the
//! termination signals ([`terminated`]), how many files may be open ([`raise_descriptors`]), the checks that both
//! configurations need, and what programs print ([`out`]). Does not: know a socket, a
//! journal or a round.
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! let clock = daemon::Clock::not_before(protocol::Timestamp(0));
//! let first = clock.now();
//! assert!(clock.now() >= first);
//! # });
//! ```
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

mod clock;
mod config;
mod descriptors;
mod encryption;
pub mod out;
mod process;

pub use clock::{Clock, heartbeat, patience, wall_ms};
pub use config::{
    ConfigError, PLAINTEXT, default_log, load, parse, read, read_authority, read_roster, resolve,
};
pub use descriptors::raise_descriptors;
pub use encryption::{Encryption, read_identity, read_secret_text};
pub use process::{GOODBYE, runtime, terminated};
