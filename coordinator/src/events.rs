//! What the driver is given, and what it answers.

use identity::AuthorisedRoster;
use params::Digest;
use protocol::{Act, Attempt, Rejection, SessionVersion, ToCoordinator, UploadHeader};
use runs::{NextVersion, OpeningError};
use secagg::ClientId;
use store::StageWriter;
use tokio::sync::oneshot;

use crate::outbox::Outbox;
use crate::sessions::SessionId;

/// Who waits for an operator's action: what holds the run back now, in words, or why nothing was done.
pub(crate) type ActReply = oneshot::Sender<Result<Vec<String>, Rejection>>;

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
        message: Box<ToCoordinator>,
    },
    BeginUpload {
        header: Box<UploadHeader>,
        reply: oneshot::Sender<Result<Staging, tonic::Status>>,
    },
    Uploaded {
        header: Box<UploadHeader>,
        reply: oneshot::Sender<Result<(), Rejection>>,
    },
    Opened {
        at: Attempt,
        result: Result<Box<NextVersion>, OpeningError>,
    },
    /// In which round a model was published.
    FindModel {
        digest: Digest,
        reply: oneshot::Sender<Result<Option<u64>, tonic::Status>>,
    },
    /// The authority has signed it.
    Roster {
        roster: Box<AuthorisedRoster>,
        reply: oneshot::Sender<Result<(), Rejection>>,
    },
    /// The sender has checked that the operator may.
    Act {
        act: Act,
        /// By one who is no administrator: what can be done without end is counted, and nothing ends the run for ever.
        emergency: bool,
        reply: ActReply,
    },
}

/// Where an upload's bytes go.
pub(crate) enum Staging {
    /// All of it is durable already.
    Done,
    /// Into this writer, after what it holds.
    Writer(Box<dyn StageWriter>),
}
