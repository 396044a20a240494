//! Who the members are: their keys, the federation's authority, the roster, roles and tokens.
//!
//! A **roster** says who the members are and is signed by the federation's authority; every client pins it. What a
//! run asks of them, and what each allows, is the crate `plan`'s.
//!
//! This crate reads and checks text; it opens no file and no socket, and it holds no protocol state.
//!
//! ```text
//! authority --signs--> Roster (members, coordinator key)      pinned by every client
//! Roster    --names--> the one before it                      LastSigned: a line without a fork
//! ```
//!
//! ```
//! use identity::{IdentityKey, parse_verifying_key};
//! let key = IdentityKey::from_secret_hex(&hex::encode([7; 32])).unwrap();
//! let public = hex::encode(key.public().as_bytes());
//! assert_eq!(parse_verifying_key(&public).unwrap(), key.public());
//! assert!(parse_verifying_key(&hex::encode([0; 32])).is_err(), "weak keys are refused");
//! ```
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

mod authority;
mod keys;
mod last_signed;
mod role;
mod roster;
#[cfg(any(test, feature = "samples"))]
pub mod samples;
mod shown;
mod succession;
mod token;

pub use authority::{Authority, AuthorityError, identity_fingerprint, spoken};
pub use keys::{IdentityKey, KeyError, parse_verifying_key};
pub use last_signed::{LAST_ROSTER_FILE, LastSigned, LastSignedError};
pub use role::{Role, Subject, SubjectError, is_name};
pub use roster::{AuthorisedRoster, Member, Roster, RosterChange, RosterError, SignedRoster};
pub use shown::{is_printable, parse_time, printable, span, utc, with_causes};
pub use succession::{ROSTERS_BETWEEN_BYTES_MAX, ROSTERS_BETWEEN_MAX};
pub use token::{AccessToken, JoinToken, TokenError, join_signed_bytes, secret_hash, secret_matches};
