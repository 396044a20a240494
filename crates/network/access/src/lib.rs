//! Who may call what, and who became a member how: the coordinator's gate and its enrolment desk.
//!
//! Owns: the table of roles that each RPC needs ([`REQUIREMENTS`]), the layer that enforces it before any service sees
//! a call ([`Guard`]), the registry of tokens, requests for admission, barred callers and incidents ([`Registry`]),
//! the services of enrolment and administration over it ([`Desk`]) and that of runs ([`RunDesk`]), and how much of an audit log is whose to fill ([`LogQuota`]).
//!
//! Does not: run rounds, hold a private key, or write the audit log; those are reached through [`Operations`],
//! [`Queue`], [`Issuer`] and a [`Hook`].
//!
//! ```text
//! connection --pki::Peer--> Guard: who? barred? role? how often? --Caller--> services --> Registry, Operations
//!                             |  each refusal and each recorded call
//!                             +--CallRecord--> hook (audit log)
//! ```
//!
//! ```
//! use access::{Requirement, requirement};
//! use identity::Role;
//!
//! let row = requirement("/folkmoot.v1.Admin/SubmitRoster").unwrap();
//! assert_eq!(row.requirement, Requirement::AnyOf(&[Role::Admin]));
//! ```
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

mod denied;
mod desk;
mod error;
#[cfg(feature = "fake")]
mod fake_run;
mod guard;
mod limits;
mod log_quota;
mod registry;
mod requirements;

pub use denied::{Denied, DeniedSet};
pub use desk::{Desk, IssuedCertificate, Issuer, Lifetimes, Operations, Queue, RunDesk};
pub use error::{AccessError, OperationError, RegistryError};
#[cfg(feature = "fake")]
pub use fake_run::FakeRun;
pub use guard::{CallOutcome, CallRecord, Caller, Guard, Guarded, Hook, Proof, WallClock};
pub use limits::{Rate, Rates};
pub use log_quota::{CallsLeftOut, LogQuota};
pub use registry::{
    Admission, Denial, Incident, IncidentNote, JoinRequest, Lifted, Purpose, Registry, RegistryFileError,
    RequestStanding, RequestState, Token, TokenState, Whom,
};
pub use requirements::{CallRule, REQUIREMENTS, RateClass, Requirement, requirement};
