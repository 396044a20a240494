//! What the driver is given, and what it answers.

use federation::RunNumber;
use identity::AuthorisedRoster;
use params::Digest;
use plan::{AuthoredPlan, SignedPlan};
use protocol::{Act, Attempt, OfRun, Rejection, SessionVersion, ToCoordinator, UploadHeader};
use run_status::RunEntry;
use runs::{NextVersion, OpeningError};
use secagg::ClientId;
use store::StageWriter;
use tokio::sync::oneshot;

use crate::outbox::Outbox;
use crate::sessions::SessionId;

/// Who waits for an operator's action: what holds the run back now, in words, or why nothing was done.
pub(crate) type ActReply = oneshot::Sender<Result<Vec<String>, Rejection>>;

/// Who waits to hear of a run, or why there is none.
pub(crate) type RunReply = oneshot::Sender<Result<RunEntry, Rejection>>;

/// What the services and workers tell the driver.
pub(crate) enum Event {
    Attached {
        client: ClientId,
        session: SessionId,
        version: SessionVersion,
        outbox: Outbox,
    },
    Detached {
        client: ClientId,
        session: SessionId,
    },
    Said {
        client: ClientId,
        session: SessionId,
        message: Box<OfRun<ToCoordinator>>,
    },
    BeginUpload {
        header: Box<OfRun<UploadHeader>>,
        reply: oneshot::Sender<Result<Staging, tonic::Status>>,
    },
    Uploaded {
        /// The one that [`Staging`] named.
        run: RunNumber,
        header: Box<UploadHeader>,
        reply: oneshot::Sender<Result<(), Rejection>>,
    },
    Opened {
        run: RunNumber,
        at: Attempt,
        result: Result<Box<NextVersion>, OpeningError>,
    },
    /// In which run and round a model was published; of all runs where none is named.
    FindModel {
        run: Option<Digest>,
        digest: Digest,
        reply: oneshot::Sender<Result<Option<(RunNumber, u64)>, tonic::Status>>,
    },
    /// The authority has signed it.
    Roster {
        roster: Box<AuthorisedRoster>,
        reply: oneshot::Sender<Result<(), Rejection>>,
    },
    /// The sender has checked that the operator may.
    Act {
        /// The run of this name; where none is named, the one that is meant then.
        run: Option<Digest>,
        act: Act,
        /// By one who is no administrator: what can be done without end is counted, and nothing ends the run for ever.
        emergency: bool,
        reply: ActReply,
    },
    /// The sender has checked that the caller may; the plan is its author's.
    Submit {
        plan: Box<AuthoredPlan>,
        by: String,
        reply: RunReply,
    },
    /// All runs, as they stand.
    List {
        reply: oneshot::Sender<Vec<RunEntry>>,
    },
    /// A run with its plan; none where there is no such run.
    Show {
        run: Option<Digest>,
        reply: oneshot::Sender<Option<(RunEntry, SignedPlan)>>,
    },
}

/// Where an upload's bytes go.
pub(crate) struct Staging {
    /// The run that it counts in.
    pub(crate) run: RunNumber,
    /// Into this writer, after what it holds; none where all of it is durable already.
    pub(crate) writer: Option<Box<dyn StageWriter>>,
}
