//! Work that takes long: fetching, training, masking, uploading. The driver starts it and hears how it ended.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use chacha20::ChaCha20Rng;
use chacha20::rand_core::SeedableRng;
use datasets::{Dataset, DatasetError};
use identity::{AuthoredPlan, Contribution, Origin};
use params::Digest;
use protocol::{Attempt, JobId, MaskJob, StepJob, TrainJob, UploadHeader, origin_of};
use secagg::MaskedUpdate;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use tonic::transport::Channel;
use train::{BurnTrainer, Trainer};
use wire::v1;
use wire::v1::federation_client::FederationClient;

use crate::backoff::Backoff;
use crate::link::said;
use crate::models::{self, FetchError, Version, may_pass};
use crate::patience::{retry_longest, within};

/// Chunks of an upload made before the network takes them. No more than one: each may take a patience to go out, and
/// only those that are not made yet count as progress.
const CHUNKS_AHEAD: usize = 1;

/// How a job ended.
#[allow(clippy::large_enum_variant, reason = "one is held at a time")]
pub(crate) enum Done {
    /// Training; the table comes back to be used again.
    Trained {
        job: JobId,
        at: Attempt,
        table: Option<Table>,
        version: Option<Version>,
        result: Result<Contribution, TrainFailure>,
    },
    /// One of the server's steps; the version that it led to is held.
    Stepped { record: Digest, plan: Digest, round: u64, result: Result<Version, FetchError> },
    /// Reading the table that is checked in with.
    Read { job: JobId, run: Digest, result: Result<Table, TrainFailure> },
    /// Masking; what was masked was made from this.
    Masked { job: JobId, at: Attempt, result: Result<(Origin, MaskedUpdate), String> },
    /// Uploading.
    Uploaded { at: Attempt, result: Result<(), String> },
}

/// A loaded table and the plan whose columns it has.
#[derive(Clone)]
pub(crate) struct Table {
    pub(crate) plan: Digest,
    pub(crate) data: Arc<Dataset>,
}

/// Why there is no update. For the silo's own log: it may say something of the data.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TrainFailure {
    #[error("{0}")]
    Data(#[from] DatasetError),
    #[error("the model {0} is not trained on: {1}")]
    Model(String, FetchError),
    #[error("{0}")]
    Training(String),
}

/// What one job leaves for the next.
#[derive(Clone, Default)]
pub(crate) struct Kept {
    pub(crate) table: Option<Table>,
    /// Computed or fetched under the plan of this digest: another one's server remembers other things.
    pub(crate) version: Option<(Digest, Version)>,
}

/// Reads the table, whatever was read before.
pub(crate) async fn read(path: PathBuf, job: JobId, run: Digest, plan: Arc<AuthoredPlan>) -> Done {
    Done::Read { job, run, result: load(path, None, &plan).await }
}

/// Does one of the server's steps again.
pub(crate) async fn step(channel: Channel, job: StepJob, held: Option<Version>, patience: Duration) -> Done {
    let result = models::step(channel, &job, held, patience).await;
    Done::Stepped { record: job.record, plan: job.plan.digest(), round: job.manifest.round, result }
}

/// Obtains the model, loads the table where the one kept is not of this plan, and trains.
pub(crate) async fn train(
    channel: Channel,
    path: PathBuf,
    kept: Kept,
    job: TrainJob,
    patience: Duration,
) -> Done {
    let (name, at) = (job.id, job.at);
    let table = match load(path, kept.table, &job.plan).await {
        Ok(table) => table,
        Err(why) => return Done::Trained { job: name, at, table: None, version: None, result: Err(why) },
    };
    let plan = job.plan.digest();
    let held = kept.version.filter(|(of, _)| *of == plan).map(|(_, version)| version);
    let (version, result) = match models::obtain(channel, &job, held, patience).await {
        Err(why) => (None, Err(TrainFailure::Model(job.head.model.params_digest.short(), why))),
        Ok(version) => {
            let data = Arc::clone(&table.data);
            let (model, state) = (version.params.clone(), version.state.clone());
            let train = move || {
                let clip_norm = job.plan.clip_norm_after(&state)?;
                // Of what is trained on, not of what was asked for.
                let origin = origin_of(&job.plan, &model, &state);
                BurnTrainer
                    .train(&job.plan, &model, &data, clip_norm, *job.seed)
                    .map(|trained| Contribution::new(origin, trained))
                    .map_err(|why| why.to_string())
            };
            let result = spawn_blocking(train)
                .await
                .map_err(|panic| panic.to_string())
                .and_then(|trained| trained.map_err(|why| why.to_string()))
                .map_err(TrainFailure::Training);
            (Some(version), result)
        }
    };
    Done::Trained { job: name, at, table: Some(table), version, result }
}

/// Quantises, adds noise and masks.
pub(crate) async fn mask(contribution: Option<Contribution>, job: Box<MaskJob>) -> Done {
    let (name, at) = (job.id, job.at);
    let Some(contribution) = contribution else {
        return Done::Masked {
            job: name,
            at,
            result: Err("no trained update is held for this attempt".into()),
        };
    };
    let result = spawn_blocking(move || {
        let mechanism = job.plan.mechanism().map_err(|(field, why)| format!("{field}: {why}"))?;
        // Wiped when dropped, as the seed is.
        let mut rng = ChaCha20Rng::from_seed(*job.noise_seed);
        let protected = mechanism
            .protect(contribution, job.origin, job.masking.noise(), &mut rng)
            .map_err(|why| why.to_string())?;
        Ok((protected.origin(), protected.mask(job.masking)))
    })
    .await
    .map_err(|panic| panic.to_string())
    .flatten();
    Done::Masked { job: name, at, result }
}

/// Sends the masked vector, as often as it takes, until the coordinator has it or does not want it any more.
pub(crate) async fn upload(
    channel: Channel,
    header: UploadHeader,
    masked: Arc<MaskedUpdate>,
    patience: Duration,
) -> Done {
    let at = header.at;
    let mut backoff = Backoff::new(retry_longest(patience));
    let result = loop {
        match upload_once(channel.clone(), &header, &masked, patience).await {
            Ok(()) => break Ok(()),
            Err(why) if may_pass(&why) => {
                let wait = backoff.wait();
                tracing::warn!(
                    round = at.round,
                    retry_in_ms = wait.as_millis() as u64,
                    "the upload broke off: {}; it goes on where it stopped",
                    said(&why)
                );
                tokio::time::sleep(wait).await;
            }
            Err(why) => break Err(said(&why)),
        }
    };
    Done::Uploaded { at, result }
}

async fn upload_once(
    channel: Channel,
    header: &UploadHeader,
    masked: &MaskedUpdate,
    patience: Duration,
) -> Result<(), Status> {
    let mut federation = FederationClient::new(channel);
    let begun = federation.begin_upload(v1::UploadHeader::from(header.clone()));
    let grant = within(patience, begun).await?.into_inner();
    if grant.done {
        return Ok(());
    }
    let (chunks, outgoing) = mpsc::channel(CHUNKS_AHEAD);
    let feed = async {
        for chunk in wire::upload_chunks(header, masked, grant.received_bytes) {
            // Where the other end is gone, the receipt says why.
            if within(patience, async { Ok(chunks.send(chunk).await) }).await?.is_err() {
                break;
            }
        }
        drop(chunks);
        // The last two chunks are still on their way, and the whole is made durable.
        within(patience * 3, std::future::pending::<Result<(), Status>>()).await
    };
    let receipt = tokio::select! {
        receipt = federation.upload(ReceiverStream::new(outgoing)) => receipt?.into_inner(),
        fed = feed => return fed,
    };
    if receipt.durable { Ok(()) } else { Err(Status::aborted("the coordinator did not keep the upload")) }
}

async fn load(path: PathBuf, table: Option<Table>, plan: &Arc<AuthoredPlan>) -> Result<Table, TrainFailure> {
    let digest = plan.digest();
    if let Some(table) = table.filter(|table| table.plan == digest) {
        return Ok(table);
    }
    let plan = Arc::clone(plan);
    let data = spawn_blocking(move || Dataset::load(&path, &plan.data))
        .await
        .map_err(|panic| TrainFailure::Training(panic.to_string()))??;
    tracing::info!(version = data.version().short(), "data loaded");
    Ok(Table { plan: digest, data: Arc::new(data) })
}
