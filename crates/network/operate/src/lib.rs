//! The client side of a coordinator's services: what a tool, a dashboard or a gateway asks of it, and believes of its answers.
//!
//! Owns: whom a coordinator is trusted as and whom it is called as ([`Target`]), what its refusals mean
//! ([`ConnectError`]), the administrative calls ([`Admin`]), the runs and which is meant ([`Runs`]), the published models ([`Models`]), the run as it stands ([`status`]) and as
//! it changes ([`Watch`]), an incident's evidence ([`evidence`]), how long a call waits for a coordinator that is busy ([`Patient`]), and the next roster: who is admitted to it, what it may follow, what waits for it ([`what_will_wait`]), and that
//! whatever was signed is remembered before it is out ([`AuthorityFolder`]). Does not: print, ask a person, read who calls from the
//! environment, or know an exit code.
//!
//! ```
//! let target = operate::Target::default();
//! assert!(matches!(target.url(), Err(operate::ConnectError::WhichCoordinator)));
//! ```
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

mod admin;
mod admission;
mod authority;
mod connect;
mod consent;
mod evidence;
mod extending;
mod files;
mod models;
mod operator;
mod operators;
mod patient;
mod runs;
#[cfg(test)]
mod script;
mod shown;
mod succession;
mod tokens;
mod watch;

pub use admin::{Admin, Outcome, Submitted};
pub use admission::{
    AdmissionError, Newcomer, Unbelieved, admitted, asking, barred, member, roster_in_force,
};
pub use authority::{AuthorityFolder, MemoryError, RosterContents, SigningError};
pub use connect::{
    Bearer, ConnectError, Credentials, Link, Target, connect, now_s, read_authority, refused, roster_key,
};
pub use consent::what_will_wait;
pub use evidence::{Gathered, IncidentEvidenceError, evidence};
pub use extending::{ExtendError, extension};
pub use files::{Unusable, read_secret_text, read_text};
pub use models::{Models, ModelsError, PublishedRecord};
pub use operator::{AuditEntries, EntriesError, audit_entries, status};
pub use operators::{NewOperator, NewOperatorError};
pub use patient::Patient;
pub use runs::{Runs, WhichRun};
pub use shown::{
    bars_json, bars_text, clients_json, clients_text, incident_json, incident_text, roster_json, roster_text,
    tokens_json, tokens_text,
};
pub use succession::{Doubt, NextRoster, Notes, Notice};
pub use tokens::NewToken;
pub use watch::{Sight, Watch};
