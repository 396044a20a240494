//! What the driver is told, and what it answers.

use bytes::Bytes;
use identity::AuthorisedRoster;
use params::Digest;
use protocol::{Act, Attempt, Rejection, SessionVersion, ToCoordinator, UploadHeader};
use secagg::ClientId;
use store::StageWriter;
use tokio::sync::oneshot;

use crate::artifacts::Files;
use crate::sessions::{Outbox, SessionId};
use crate::worker::OpeningError;

/// Who waits for records of the chain.
pub(crate) type ChainReply = oneshot::Sender<Result<Vec<wire::CheckpointRecord>, tonic::Status>>;

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
    FetchModel {
        wanted: Wanted,
        reply: oneshot::Sender<Result<ModelFile, tonic::Status>>,
    },
    Chain {
        from_round: u64,
        reply: ChainReply,
    },
    /// The authority has signed it.
    Roster {
        roster: Box<AuthorisedRoster>,
        reply: oneshot::Sender<Result<(), Rejection>>,
    },
    /// The sender has checked that the operator may.
    Act {
        act: Act,
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

/// What is asked for of the chain.
pub(crate) enum Wanted {
    /// A model by its digest; the newest where there is none.
    Model(Option<Digest>),
    /// A file of the record of a round.
    File { round: u64, file: &'static str },
}

/// A published file.
pub(crate) struct ModelFile {
    pub(crate) round: u64,
    pub(crate) digest: Digest,
    pub(crate) file: Bytes,
}

/// A stepped model, encoded.
pub(crate) struct NextVersion {
    pub(crate) next: protocol::NextModel,
    pub(crate) files: Files,
}
