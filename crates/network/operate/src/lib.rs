//! The client side of a coordinator's services: what a tool, a dashboard or a gateway asks of it, and believes of its answers.
//!
//! Owns: whom a coordinator is trusted as and whom it is called as ([`Target`]), and what its refusals mean
//! ([`ConnectError`]). Does not: print, ask a person, read who calls from the environment, or know an exit code.
//!
//! ```
//! let target = operate::Target::default();
//! assert!(matches!(target.url(), Err(operate::ConnectError::WhichCoordinator)));
//! ```
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

mod connect;
mod files;

pub use connect::{
    AUTHORITY_FILE, Bearer, CERTIFICATE_FILE, COORDINATOR_FILE, ConnectError, Credentials, KEY_FILE, Link,
    Target, connect, now_s, read_authority, refused, roster_key,
};
pub use files::{Unusable, read_text};
