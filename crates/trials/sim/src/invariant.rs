//! What must hold of every simulated federation.

/// What must hold, by its id in ARCHITECTURE.md.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Invariant {
    /// S1: a client's two secrets are never both open.
    OneSecret,
    /// S2: one masked vector, one signature, one unmask answer for each client and round.
    SaidOnce,
    /// S3: every opened sum has at least `t - c` honest inputs.
    HonestInputs,
    /// S4: a committed round's aggregate is the exact sum of its included set.
    ExactSum,
    /// S5: the budget is never overspent and never refunded.
    Budget,
    /// S6: the chain has no fork.
    OneChain,
    /// S7: an accepted upload is in the sum, or the round was aborted with a named outcome.
    UploadKept,
    /// S8: once faults have healed, a round commits.
    Liveness,
    /// S9: what was acknowledged as written is there after a crash.
    Durable,
    /// S10: nobody is blamed who did not lie.
    Blame,
    /// S11: what a message asserts is written down before the message is sent.
    PersistBeforeSend,
    /// S12: no input of a peer makes a process panic.
    NoPanic,
    /// S13: what an operator stopped stays stopped.
    Stopped,
    /// S14: no complaint keeps an honest silo out for good.
    Turns,
    /// S15: a silo is in one attempt at a time, over all runs.
    OneAttempt,
}

impl Invariant {
    /// All of them, in the order of their ids.
    pub const ALL: [Self; 15] = [
        Self::OneSecret,
        Self::SaidOnce,
        Self::HonestInputs,
        Self::ExactSum,
        Self::Budget,
        Self::OneChain,
        Self::UploadKept,
        Self::Liveness,
        Self::Durable,
        Self::Blame,
        Self::PersistBeforeSend,
        Self::NoPanic,
        Self::Stopped,
        Self::Turns,
        Self::OneAttempt,
    ];

    /// The row of the table in ARCHITECTURE.md.
    pub fn id(self) -> &'static str {
        match self {
            Self::OneSecret => "S1",
            Self::SaidOnce => "S2",
            Self::HonestInputs => "S3",
            Self::ExactSum => "S4",
            Self::Budget => "S5",
            Self::OneChain => "S6",
            Self::UploadKept => "S7",
            Self::Liveness => "S8",
            Self::Durable => "S9",
            Self::Blame => "S10",
            Self::PersistBeforeSend => "S11",
            Self::NoPanic => "S12",
            Self::Stopped => "S13",
            Self::Turns => "S14",
            Self::OneAttempt => "S15",
        }
    }
}

/// An invariant that did not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invariant {} broken: {what}", .invariant.id())]
pub struct Violation {
    pub invariant: Invariant,
    pub what: String,
}
