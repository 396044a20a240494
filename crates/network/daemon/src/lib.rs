//! What the two daemons share: their main, their clock, the end that a signal asks for, and their configuration's common half.
//!
//! Owns: a daemon from its command line to its exit code ([`main`]), what both configurations declare
//! ([`configuration!`], [`tls_table!`]) and how they are read, the time that deadlines are judged by ([`Clock`]), how long a silent peer
//! is waited for ([`patience`]), whose a folder is that root gives a command about ([`check_owner`]), the termination signals ([`terminated`]), how many files may be open
//! ([`raise_descriptors`]), and what programs print ([`out`]). Does not: know a socket, a journal or a round.
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! let clock = daemon::Clock::not_before(protocol::Timestamp(0));
//! let first = clock.now();
//! assert!(clock.now() >= first);
//! # });
//! ```
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

mod address;
mod clock;
mod config;
mod descriptors;
mod encryption;
mod lenient;
mod misplaced;
pub mod out;
mod owner;
mod policy;
mod process;
mod program;
mod secret;
mod shared;

pub use address::{PLAINTEXT, check_listen, check_metrics_listen};
pub use clock::{Clock, heartbeat, now_s, patience, wall_ms};
pub use config::{
    ConfigError, default_log, load, parse, parse_at, parsed, read, read_authority, read_roster,
    read_tls_authority, resolve,
};
pub use descriptors::raise_descriptors;
pub use encryption::{Encryption, read_identity, read_secret_text};
pub use lenient::{changed_keys, path_of};
pub use misplaced::misplaced_word;
pub use owner::{check_owner, still_roots};
pub use policy::{is_policy_alone, policy_in};
pub use process::{GOODBYE, runtime, terminated};
pub use program::{Daemon, EXIT_CONFIGURATION, EXIT_FAILURE, Stopped, main};
pub use secret::Secret;
pub use shared::{Configuration, Opened, Shared};
