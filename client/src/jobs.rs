//! Work that takes long: fetching, training, masking, uploading. The driver starts it and hears how it ended.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use chacha20::ChaCha20Rng;
use chacha20::rand_core::SeedableRng;
use datasets::{Dataset, DatasetError};
use identity::{Contribution, Plan};
use params::{Digest, Params};
use protocol::{Attempt, MaskJob, TrainJob, UploadHeader};
use secagg::MaskedUpdate;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Status};
use train::{BurnTrainer, Trained, Trainer};
use wire::v1::federation_client::FederationClient;
use wire::v1::models_client::ModelsClient;
use wire::{ChunkError, ChunkVerifier, ConversionError, ModelHeader, describe, limits, v1};

use crate::backoff::Backoff;
use crate::patience::retry_longest;

/// Chunks of an upload made before the network takes them. No more than one: each may take a patience to go out, and
/// only those that are not made yet count as progress.
const CHUNKS_AHEAD: usize = 1;

/// How a job ended.
pub(crate) enum Done {
    /// Training; the table comes back to be used again.
    Trained { at: Attempt, table: Option<Table>, result: Result<Contribution, TrainFailure> },
    /// Masking.
    Masked { at: Attempt, result: Result<MaskedUpdate, String> },
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
    #[error("the model {0} could not be fetched: {1}")]
    Fetch(String, FetchError),
    #[error("{0}")]
    Training(String),
}

/// Why a model is not used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    #[error("{}", describe(.0))]
    Status(#[from] Status),
    #[error("the coordinator sent no header")]
    NoHeader,
    #[error("the header is not usable: {0}")]
    Header(#[from] ConversionError),
    #[error("the header announces {got} bytes; a model of this plan has {most} at most")]
    TooLarge { got: u64, most: u64 },
    #[error("{0}")]
    Chunk(#[from] ChunkError),
    #[error("all chunks are sound and the file is not a model of this plan: {0}")]
    File(#[from] checkpoint::ModelError),
    #[error("the parameters have the digest {}; the coordinator sent another model than it signed", .0.short())]
    OtherModel(Digest),
}

/// Fetches the model, loads the table where `table` is not of this plan, and trains.
pub(crate) async fn train(
    channel: Channel,
    path: PathBuf,
    table: Option<Table>,
    job: TrainJob,
    patience: Duration,
) -> Done {
    let at = job.at;
    let table = match load(path, table, &job.plan).await {
        Ok(table) => table,
        Err(why) => return Done::Trained { at, table: None, result: Err(why) },
    };
    let result = match fetch(channel, job.model, &job.plan, patience).await {
        Err(why) => Err(TrainFailure::Fetch(job.model.short(), why)),
        Ok(model) => {
            let data = Arc::clone(&table.data);
            spawn_blocking(move || BurnTrainer.train(&job.plan, &model, &data, *job.seed))
                .await
                .map_err(|panic| panic.to_string())
                .and_then(|trained| trained.map_err(|why| why.to_string()))
                .map(contribution)
                .map_err(TrainFailure::Training)
        }
    };
    Done::Trained { at, table: Some(table), result }
}

/// Quantises, adds noise and masks.
pub(crate) async fn mask(contribution: Option<Contribution>, job: Box<MaskJob>) -> Done {
    let at = job.at;
    let Some(contribution) = contribution else {
        return Done::Masked { at, result: Err("no trained update is held for this attempt".into()) };
    };
    let result = spawn_blocking(move || {
        let mechanism = job.plan.mechanism().map_err(|(field, why)| format!("{field}: {why}"))?;
        // Wiped when dropped, as the seed is.
        let mut rng = ChaCha20Rng::from_seed(*job.noise_seed);
        let protected = mechanism.protect(contribution, &mut rng).map_err(|why| why.to_string())?;
        Ok(job.masking.mask(protected.update.into_lanes()))
    })
    .await
    .map_err(|panic| panic.to_string())
    .flatten();
    Done::Masked { at, result }
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
                    describe(&why)
                );
                tokio::time::sleep(wait).await;
            }
            Err(why) => break Err(describe(&why)),
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

/// What comes next, unless the coordinator owes it for too long: then the stream is given up for a new one.
async fn within<T>(patience: Duration, next: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
    tokio::time::timeout(patience, next).await.unwrap_or_else(|_| {
        let seconds = patience.as_secs_f64();
        Err(Status::deadline_exceeded(format!("nothing moved for {seconds} s")))
    })
}

async fn load(path: PathBuf, table: Option<Table>, plan: &Arc<Plan>) -> Result<Table, TrainFailure> {
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

async fn fetch(
    channel: Channel,
    model: Digest,
    plan: &Plan,
    patience: Duration,
) -> Result<Params, FetchError> {
    let mut backoff = Backoff::new(retry_longest(patience));
    loop {
        match fetch_once(channel.clone(), model, plan, patience).await {
            Err(FetchError::Status(why)) if may_pass(&why) => {
                let wait = backoff.wait();
                tracing::warn!(
                    retry_in_ms = wait.as_millis() as u64,
                    "fetching the model broke off: {}",
                    describe(&why)
                );
                tokio::time::sleep(wait).await;
            }
            ended => return ended,
        }
    }
}

async fn fetch_once(
    channel: Channel,
    model: Digest,
    plan: &Plan,
    patience: Duration,
) -> Result<Params, FetchError> {
    let mut models = ModelsClient::new(channel).max_decoding_message_size(limits::MESSAGE_BYTES_MAX);
    let wanted = v1::FetchModelRequest { digest: model.as_bytes().to_vec() };
    let mut chunks = within(patience, models.fetch_model(wanted)).await?.into_inner();
    let header = match within(patience, chunks.message()).await?.and_then(|first| first.part) {
        Some(v1::model_chunk::Part::Header(header)) => ModelHeader::try_from(header)?,
        _ => return Err(FetchError::NoHeader),
    };
    let layout = plan.architecture().layout();
    let most = (layout.len() as u64).saturating_mul(4).saturating_add(checkpoint::HEADER_BYTES_MAX as u64);
    if header.total_bytes > most {
        return Err(FetchError::TooLarge { got: header.total_bytes, most });
    }
    let mut file = Vec::with_capacity(header.total_bytes as usize);
    let mut verifier = ChunkVerifier::new(header);
    while let Some(chunk) = within(patience, chunks.message()).await? {
        file.extend_from_slice(&verifier.accept(chunk)?);
    }
    verifier.finish()?;
    let params = checkpoint::read_model(&file, &layout)?;
    match params.digest() {
        digest if digest == model => Ok(params),
        digest => Err(FetchError::OtherModel(digest)),
    }
}

/// Whether the same request may succeed later: the network's failures, and the server's passing ones.
fn may_pass(status: &Status) -> bool {
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

fn contribution(trained: Trained) -> Contribution {
    match trained {
        Trained::Local { update, rows, metrics } => {
            Contribution::Update { update, rows, metrics: [metrics.loss, metrics.accuracy] }
        }
        Trained::ClippedSum(sum) => Contribution::Sum(sum),
    }
}
