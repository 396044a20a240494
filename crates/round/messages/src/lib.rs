//! What the two sides of a session say to each other, as plain data.
//!
//! Owns: the messages of silo and coordinator, the reasons that they carry (why a silo declines, is dropped or rejected, why an
//! attempt or a run is over), and the versions of a session. Does not: decide when one is said, which `protocol` does, or know
//! its bytes, which `wire` gives it.
//!
//! ```
//! use messages::Attempt;
//! // Attempts are ordered as a client checks them: any later round, or a later attempt of the same one.
//! assert!(Attempt { round: 2, attempt: 1 } > Attempt { round: 1, attempt: 9 });
//! ```
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

mod message;
mod sandbox;
mod version;

pub use message::{
    Attempt, CoordinatorFault, Decline, DropReason, OfRun, Rejection, RoundOutcome, RunEnd, ToClient,
    ToCoordinator, UploadHeader,
};
pub use sandbox::{SandboxLevel, SandboxLevelError};
pub use version::SessionVersion;
