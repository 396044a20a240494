//! The documents that silos agree on: identity keys, the roster, the plan and the policy.
//!
//! A **roster** says who the members are and is signed by the federation's authority; a **plan** says what a
//! run asks; a **policy** says what one silo allows. A client goes on only where all three agree, so nothing
//! that the coordinator says can weaken what the silo's own policy demands.
//!
//! This crate reads and checks text; it opens no file and no socket, and it holds no protocol state.
//!
//! ```text
//! authority --signs--> Roster (members, coordinator key)      pinned by every client
//! author    --signs--> Plan   (model, data, privacy, cohort)  content-addressed: Plan::digest
//! silo      --writes-> Policy (floors, budget, modes)         local; Policy::check(&Plan)
//! ```
//!
//! ```
//! use identity::{Policy, Plan};
//! let author = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
//! let policy = Policy::from_toml(&format!(
//!     "cohort_min = 4\nhonest_min = 2\ncorrupt_min = 1\nepsilon_max = 5.0\ndelta_max = 1e-5\n\
//!      privacy_modes = [\"distributed_dp_sgd\"]\naccepts_undetected_rollback = true\n\
//!      authors = [\"{author}\"]\n",
//! )).unwrap();
//! assert_eq!(policy.honest_min, 2);
//! assert!(Plan::from_toml("name = \"x\"\ncolour = 1\n").is_err(), "unknown keys are refused");
//! ```
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

mod access;
mod authored;
mod authority;
mod clipping;
mod keys;
mod last_signed;
mod limits;
mod mechanism;
mod plan;
mod policy;
mod privacy;
mod problems;
mod refusal;
mod refusal_code;
mod roster;
mod schema;
mod shared_noise;
mod shown;
mod succession;
mod token;
mod validate;

pub use access::{Role, Subject, SubjectError, is_name};
pub use authored::{AuthorError, AuthoredPlan, SignedPlan};
pub use authority::{Authority, AuthorityError, identity_fingerprint, spoken};
pub use clipping::Clipping;
pub use keys::{IdentityKey, KeyError, parse_verifying_key};
pub use last_signed::{LAST_ROSTER_FILE, LastSigned, LastSignedError};
pub use mechanism::{
    Aggregate, Contribution, Learned, Mechanism, Origin, ProtectError, Protected, SiloNoise, SumError,
};
pub use plan::{Cohort, Data, Feature, LocalOptimizer, Model, Plan, PlanError, Timing, Training};
pub use policy::{Hours, ModelKind, Period, Policy, PolicyError, RosterChanges};
pub use privacy::{AdaptiveClipping, Privacy, PrivacyMode, Weights};
pub use problems::{Problem, Problems};
pub use refusal::Refusal;
pub use refusal_code::RefusalCode;
pub use roster::{AuthorisedRoster, Member, Roster, RosterChange, RosterError, SignedRoster};
pub use schema::{Column, Schema};
pub use shared_noise::SharedNoise;
pub use shown::{is_printable, printable};
pub use succession::{ROSTERS_BETWEEN_BYTES_MAX, ROSTERS_BETWEEN_MAX};
pub use token::{AccessToken, JoinToken, TokenError, join_signed_bytes, secret_hash, secret_matches};
pub use validate::VALUES_AT_ONCE_MAX;
