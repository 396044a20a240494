//! The core: a run of rounds, both sides, without IO.
//!
//! [`Coordinator`] and [`Participant`] take inputs and return ordered effects. They own every decision of a
//! round: who is in it, what may be said when, what is written down before it is acted on. They own no socket,
//! no file, no clock, no thread and no vector: a shell performs the effects, and a simulation can drive whole
//! federations from one seed. The manual of the protocol is in `src/manual/`.
//!
//! ```text
//!   Input --> handle(now, rng) --> [Effect, Effect, …]      performed in order
//!                                    Persist  a barrier: nothing after it is seen until it is durable
//!                                    Send     to one peer
//!                                    Compute  a job for a worker; its result comes back as an Input
//! ```
//!
//! State changes only through `apply(&Record)`; recovery replays the journal through the same function. A
//! client's secrets are the exception: they live in memory only, outside `apply`.
//!
//! ```
//! use protocol::Attempt;
//! // Attempts are ordered as a client checks them: any later round, or a later attempt of the same one.
//! assert!(Attempt { round: 2, attempt: 1 } > Attempt { round: 1, attempt: 9 });
//! ```
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

#[doc = include_str!("manual/round.md")]
pub mod manual {}

mod coordinator;
mod invariant;
mod participant;
mod record;
mod server_step;
mod spend;

pub use coordinator::{
    Act, Artifacts, Coordinator, Effect, Effects, Input, NextModel, Setup, StartError, SumFailure, SumJob,
    SumResult, Summed, Turn, aggregate_digest, next_model,
};
pub use messages::{
    Attempt, CoordinatorFault, Decline, DropReason, OfRun, Rejection, RoundOutcome, RunEnd, SandboxLevel,
    SandboxLevelError, SessionVersion, ToClient, ToCoordinator, UploadHeader,
};
pub use participant::{
    ClaimAnswer, ClientEffect, ClientEffects, ClientInput, Contradiction, Debit, JobId, LedgerView, MaskJob,
    Participant, ParticipantError, ParticipantStatus, Profile, RosterOffer, StepJob, StepOutcome, TrainJob,
    TrainOutcome, Vector, WitnessState, Witnessed,
};
pub use record::{ClientRecord, Record, RecordError};
pub use server_step::{StepFault, check_step, names_state, origin_of, round_start};
pub use spend::privacy_spent;

/// Milliseconds since the Unix epoch, as the driver's clock says. The core compares and adds, nothing more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// This much later.
    pub fn plus_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }
}
