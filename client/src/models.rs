//! The model to train on: fetched, and shown to follow from the one before it.
//!
//! A member does every one of the server's steps again, from the published aggregates and in the chain's order, and
//! trains on what it computed itself. Which step is due is the core's to say; here it is done. A file is fetched where none
//! is held any more: by then its digest is one that was computed here, or the plan's.

use std::time::Duration;

use bytes::Bytes;
use checkpoint::Manifest;
use optim::State;
use params::Digest;
use plan::Plan;
use protocol::{StepFault, StepJob, TrainJob, check_step};
use published::Version;
use tonic::transport::Channel;
use tonic::{Code, Status};
use wire::v1::models_client::ModelsClient;
use wire::{Assembly, Backoff, FileError, file_request, limits, v1};

use crate::link::said;
use crate::patience::{retry_longest, within};

/// Why a model is not used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    #[error("{}", said(.0))]
    Status(#[from] Status),
    #[error(transparent)]
    Stream(FileError),
    #[error("all chunks are sound and the file is not a model of this plan: {0}")]
    File(#[from] checkpoint::ModelError),
    #[error("the parameters have the digest {}; the coordinator sent another model than it signed", .0.short())]
    OtherModel(Digest),
    #[error("the optimiser's state is not the one that the record of round {0} names")]
    OtherState(u64),
    #[error("{0}")]
    Step(#[from] StepFault),
}

impl From<FileError> for FetchError {
    fn from(why: FileError) -> Self {
        match why {
            FileError::Status(why) => Self::Status(why),
            why => Self::Stream(why),
        }
    }
}

/// The version of a record whose steps are all verified, so that its digests say everything. `held` is the one of an
/// earlier job.
pub(crate) async fn obtain(
    channel: Channel,
    job: &TrainJob,
    held: Option<Version>,
    patience: Duration,
) -> Result<Version, FetchError> {
    match held {
        Some(version) if version.is_named_by(&job.head) => Ok(version),
        _ => {
            let run = job.head.run_id;
            Source { channel, run, plan: &job.plan, patience }.version(&job.head).await
        }
    }
}

/// Does one of the server's steps again; gives the version that it leads to.
pub(crate) async fn step(
    channel: Channel,
    job: &StepJob,
    held: Option<Version>,
    patience: Duration,
) -> Result<Version, FetchError> {
    let published = &job.manifest;
    let source = Source { channel, run: published.run_id, plan: &job.plan, patience };
    if published.aggregate_digest.is_none() {
        return Err(StepFault::NoAggregate(published.round).into());
    }
    let before = match held {
        Some(version) if version.is_named_by(&job.before) => version,
        _ => source.version(&job.before).await?,
    };
    let most = job.plan.lanes() as u64 * limits::LANE_BYTES;
    let sum = source.file(published.round, v1::ModelPart::Aggregate, most).await?;
    let (params, state) = check_step(&job.plan, published, &before.params, before.state, &sum)?;
    Ok(Version { params, state })
}

/// Where files come from, and how long each part of one is waited for.
struct Source<'a> {
    channel: Channel,
    /// A coordinator of one run does not read it.
    run: Digest,
    plan: &'a Plan,
    patience: Duration,
}

impl Source<'_> {
    /// The files of a record, each held against what the coordinator has signed.
    async fn version(&self, manifest: &Manifest) -> Result<Version, FetchError> {
        let layout = self.plan.architecture().layout();
        let most = (layout.len() as u64) * 4 + checkpoint::HEADER_BYTES_MAX as u64;
        let file = self.file(manifest.round, v1::ModelPart::Parameters, most).await?;
        let params = checkpoint::read_model(&file, &layout)?;
        if params.digest() != manifest.model.params_digest {
            return Err(FetchError::OtherModel(params.digest()));
        }
        let initial = self.plan.initial_state(layout.len());
        let state = match &manifest.optimizer {
            // Version 0's is known without asking.
            Some(artifact) if Digest::sha256(&initial.to_bytes()) != artifact.sha256 => {
                let bytes = self.file(manifest.round, v1::ModelPart::Optimizer, artifact.bytes).await?;
                if Digest::sha256(&bytes) != artifact.sha256 {
                    return Err(FetchError::OtherState(manifest.round));
                }
                State::from_bytes(&bytes).map_err(|_| FetchError::OtherState(manifest.round))?
            }
            _ => initial,
        };
        Ok(Version { params, state })
    }

    /// A file of a record, as often as it takes.
    async fn file(&self, round: u64, part: v1::ModelPart, most: u64) -> Result<Bytes, FetchError> {
        let mut backoff = Backoff::new(retry_longest(self.patience));
        loop {
            match self.file_once(round, part, most).await {
                Err(FetchError::Status(why)) if may_pass(&why) => {
                    let wait = backoff.after(&why);
                    tracing::warn!(
                        retry_in_ms = wait.as_millis() as u64,
                        "fetching the model broke off: {}",
                        said(&why)
                    );
                    tokio::time::sleep(wait).await;
                }
                ended => return ended,
            }
        }
    }

    async fn file_once(&self, round: u64, part: v1::ModelPart, most: u64) -> Result<Bytes, FetchError> {
        let patience = self.patience;
        let mut models =
            ModelsClient::new(self.channel.clone()).max_decoding_message_size(limits::MESSAGE_BYTES_MAX);
        let mut chunks = within(patience, models.fetch_model(file_request(Some(self.run), round, part)))
            .await?
            .into_inner();
        let mut file = Assembly::new(most);
        while let Some(chunk) = within(patience, chunks.message()).await? {
            file.take(chunk)?;
        }
        Ok(file.finish()?.into())
    }
}

/// Whether the same request may succeed later: the network's failures, and the server's passing ones.
pub(crate) fn may_pass(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::Unavailable
            | Code::ResourceExhausted
            | Code::Aborted
            | Code::Cancelled
            | Code::DeadlineExceeded
            | Code::Unknown
            | Code::DataLoss
    )
}
