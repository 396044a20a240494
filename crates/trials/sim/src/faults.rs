//! What may go wrong, and when.

use protocol::{ClientRecord, Effect, ToCoordinator, UploadHeader};
use secagg::ClientId;

/// What is about to happen.
pub enum Moment<'a> {
    /// A silo is about to say something.
    SiloSays(ClientId, &'a ToCoordinator),
    /// A silo is about to send its masked vector, or what is missing of it.
    SiloUploads(ClientId, &'a UploadHeader),
    /// A silo is about to write a record; records that stand ready together are written together.
    SiloPersists(ClientId, &'a ClientRecord),
    /// A silo is about to train or to mask.
    SiloWorks(ClientId),
    /// A silo is about to open a session.
    SiloConnects(ClientId),
    /// The coordinator is about to perform an effect; what precedes it is done and durable. Records that stand
    /// ready together are written together, before everything else.
    CoordinatorDoes(&'a Effect),
}

/// What becomes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It happens as it was meant.
    Pass,
    /// It happens this many milliseconds later.
    Late(u64),
    /// A message arrives twice, the second time this many milliseconds later.
    Twice(u64),
    /// The message or the connection attempt is lost, with its connection; both sides notice at once.
    Lose,
    /// The message is lost, and all that follow it on this connection, until both sides notice.
    Vanish,
    /// The process dies before doing it, and stays dead.
    Kill,
    /// The process dies before doing it, and is started again at once.
    Restart,
    /// The process dies before doing it, and is started again after this many milliseconds.
    Down(u64),
    /// The machine loses its power before the process does it: bytes that were not synced may be gone.
    PowerCut(u64),
    /// The fsync of what is written fails: a crash, after which the bytes may be there, in part or not at all.
    SyncFails(u64),
}

impl Fate {
    /// Whether it ends the process.
    pub(crate) fn kills(self) -> bool {
        matches!(self, Self::Kill | Self::Restart | Self::Down(_) | Self::PowerCut(_) | Self::SyncFails(_))
    }

    /// Whether it strikes while the disk is being written.
    pub(crate) fn is_of_the_disk(self) -> bool {
        matches!(self, Self::PowerCut(_) | Self::SyncFails(_))
    }

    /// In a trace.
    pub(crate) fn words(self) -> String {
        match self {
            Self::Pass => "passes".into(),
            Self::Late(ms) => format!("late by {ms} ms"),
            Self::Twice(ms) => format!("arrives twice, again after {ms} ms"),
            Self::Lose => "lost with its connection".into(),
            Self::Vanish => "lost unnoticed".into(),
            Self::Kill => "killed".into(),
            Self::Restart => "killed and restarted".into(),
            Self::Down(ms) => format!("killed, down for {ms} ms"),
            Self::PowerCut(ms) => format!("power cut, down for {ms} ms"),
            Self::SyncFails(ms) => format!("fsync failed, down for {ms} ms"),
        }
    }
}

/// Decides about each moment.
pub(crate) trait Faults {
    /// What becomes of `moment`, `now_ms` after the start.
    fn fate(&mut self, now_ms: u64, moment: &Moment<'_>) -> Fate;

    /// Whether a silo is cut off from the coordinator.
    fn is_cut_off(&self, _now_ms: u64, _client: ClientId) -> bool {
        false
    }

    /// By how much a machine's clock is off after its next start, in milliseconds.
    fn clock_error_ms(&mut self) -> i64 {
        0
    }

    /// How long a silo waits before it tries a lost connection again.
    fn backoff_ms(&mut self) -> u64 {
        0
    }

    /// Whether messages of one connection may overtake each other.
    fn reorders(&self) -> bool {
        false
    }

    /// Whether processes write all records that stand ready before they perform anything else. Both this and strict
    /// order keep to the core's contract.
    fn writes_first(&self) -> bool {
        false
    }

    /// Whether a process that is killed while it writes a record dies between the write and its fsync.
    fn writes_before_it_dies(&mut self) -> bool {
        false
    }

    /// How many inputs the coordinator takes before it performs their effects.
    fn batch(&mut self) -> usize {
        1
    }
}

/// Faults that a test spells out, whatever the time.
pub(crate) struct Scripted<F>(pub(crate) F);

impl<F: FnMut(&Moment<'_>) -> Fate> Faults for Scripted<F> {
    fn fate(&mut self, _now_ms: u64, moment: &Moment<'_>) -> Fate {
        (self.0)(moment)
    }
}
