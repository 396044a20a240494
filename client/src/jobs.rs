//! Work that takes long: fetching, training, masking, uploading. The driver starts it and hears how it ended.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use chacha20::ChaCha20Rng;
use chacha20::rand_core::SeedableRng;
use params::Digest;
use plan::{AuthoredPlan, Origin};
use protocol::{Attempt, JobId, MaskJob, OfRun, StepJob, TrainJob, UploadHeader};
use published::Version;
use secagg::MaskedUpdate;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use tonic::transport::Channel;
use wire::v1::federation_client::FederationClient;
use wire::{Backoff, v1};
use workshop::{TrainFault, TrainingResult, Workshop};

use crate::link::said;
use crate::models::{self, FetchError, may_pass};
use crate::patience::{retry_longest, within};

/// Chunks of an upload made before the network takes them. No more than one: each may take a patience to go out, and
/// only those that are not made yet count as progress.
const CHUNKS_AHEAD: usize = 1;

/// How a job ended.
#[allow(clippy::large_enum_variant, reason = "one is held at a time")]
pub(crate) enum Done {
    Trained {
        job: JobId,
        at: Attempt,
        version: Option<(Digest, Version)>,
        result: Result<TrainingResult, TrainFailure>,
    },
    /// One of the server's steps; the version that it led to is held.
    Stepped {
        record: Digest,
        plan: Digest,
        round: u64,
        result: Result<Version, FetchError>,
    },
    /// Reading the table that is checked in with.
    Read {
        job: JobId,
        run: Digest,
        result: Result<Digest, TrainFailure>,
    },
    Masked {
        job: JobId,
        at: Attempt,
        result: Result<Masked, String>,
    },
    Uploaded {
        at: Attempt,
        result: Result<(), String>,
    },
}

/// A masked vector, and what was masked.
pub(crate) struct Masked {
    /// What it was made from.
    pub(crate) origin: Origin,
    pub(crate) vector: MaskedUpdate,
    /// Why it was made without the data after all, where it was.
    pub(crate) failed: Option<String>,
}

/// Why there is no update. For the silo's own log: it may say something of the data.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TrainFailure {
    #[error("{0}")]
    Fault(#[from] TrainFault),
    #[error("the model {0} is not trained on: {1}")]
    Model(String, FetchError),
}

/// The version of the model that a silo has computed or fetched last, under the plan of this digest: another one's server
/// remembers other things.
pub(crate) type Kept = Option<(Digest, Version)>;

/// What the driver has done away from itself.
pub(crate) enum Assignment {
    Read { job: JobId, run: Digest, plan: Arc<AuthoredPlan> },
    Step { job: StepJob, held: Option<Version>, patience: Duration },
    Train { kept: Kept, job: TrainJob, patience: Duration },
    Mask { made: Option<TrainingResult>, job: Box<MaskJob> },
    Upload { header: OfRun<UploadHeader>, masked: Arc<MaskedUpdate>, patience: Duration },
}

/// Who does it. The driver decides nothing by how long that takes.
pub(crate) trait Work: Send {
    fn on(&self, assignment: Assignment) -> Pin<Box<dyn Future<Output = Done> + Send>>;

    /// Nothing more will be assigned for the run.
    fn run_is_over(&self, run: Digest);
}

/// This machine, and the coordinator over the network.
pub(crate) struct Remote {
    pub(crate) channel: Channel,
    /// Where the data is read and trained on.
    pub(crate) workshop: Workshop,
}

impl Work for Remote {
    fn on(&self, assignment: Assignment) -> Pin<Box<dyn Future<Output = Done> + Send>> {
        let (channel, workshop) = (self.channel.clone(), self.workshop.clone());
        match assignment {
            Assignment::Read { job, run, plan } => Box::pin(read(workshop, job, run, plan)),
            Assignment::Step { job, held, patience } => Box::pin(step(channel, job, held, patience)),
            Assignment::Train { kept, job, patience } => {
                Box::pin(train(channel, workshop, kept, job, patience))
            }
            Assignment::Mask { made, job } => Box::pin(mask(made, job)),
            Assignment::Upload { header, masked, patience } => {
                Box::pin(upload(channel, header, masked, patience))
            }
        }
    }

    fn run_is_over(&self, run: Digest) {
        self.workshop.run_is_over(run);
    }
}

/// Reads the run's table, where that was not done before.
async fn read(workshop: Workshop, job: JobId, run: Digest, plan: Arc<AuthoredPlan>) -> Done {
    Done::Read { job, run, result: workshop.read(run, plan).await.map_err(Into::into) }
}

/// Does one of the server's steps again.
async fn step(channel: Channel, job: StepJob, held: Option<Version>, patience: Duration) -> Done {
    let result = models::step(channel, &job, held, patience).await;
    Done::Stepped { record: job.record, plan: job.plan.digest(), round: job.manifest.round, result }
}

/// Obtains the model, and trains.
async fn train(channel: Channel, workshop: Workshop, kept: Kept, job: TrainJob, patience: Duration) -> Done {
    let (name, at) = (job.id, job.at);
    let plan = job.plan.digest();
    let held = kept.filter(|(of, _)| *of == plan).map(|(_, version)| version);
    match models::obtain(channel, &job, held, patience).await {
        Err(why) => {
            let result = Err(TrainFailure::Model(job.head.model.params_digest.short(), why));
            Done::Trained { job: name, at, version: None, result }
        }
        Ok(version) => {
            let result = workshop.train(job, &version).await.map_err(TrainFailure::from);
            Done::Trained { job: name, at, version: Some((plan, version)), result }
        }
    }
}

/// Quantises, adds noise and masks.
///
/// # Privacy
/// What cannot be protected is replaced by its stand-in, where it has one: whether a silo uploads follows from no row.
async fn mask(made: Option<TrainingResult>, job: Box<MaskJob>) -> Done {
    let (name, at) = (job.id, job.at);
    let Some(TrainingResult { contribution, stand_in, .. }) = made else {
        return Done::Masked {
            job: name,
            at,
            result: Err("no trained update is held for this attempt".into()),
        };
    };
    let result = spawn_blocking(move || {
        let mechanism = job.plan.mechanism().map_err(|why| why.to_string())?;
        let protect = |contribution| {
            // Wiped when dropped, as the seed is. Of two vectors one is used.
            let mut rng = ChaCha20Rng::from_seed(*job.noise_seed);
            let protected = mechanism.protect(contribution, job.origin, job.masking.noise(), &mut rng);
            protected.map_err(|why| why.to_string())
        };
        let (protected, failed) = match (protect(contribution), stand_in) {
            (Err(why), Some(stand_in)) => (protect(stand_in)?, Some(why)),
            (protected, _) => (protected?, None),
        };
        Ok(Masked { origin: protected.origin(), vector: protected.mask(job.masking), failed })
    })
    .await
    .map_err(|panic| panic.to_string())
    .flatten();
    Done::Masked { job: name, at, result }
}

/// Sends the masked vector, as often as it takes, until the coordinator has it or does not want it any more.
async fn upload(
    channel: Channel,
    header: OfRun<UploadHeader>,
    masked: Arc<MaskedUpdate>,
    patience: Duration,
) -> Done {
    let at = header.message.at;
    let mut backoff = Backoff::new(retry_longest(patience));
    let result = loop {
        match upload_once(channel.clone(), &header, &masked, patience).await {
            Ok(()) => break Ok(()),
            Err(why) if may_pass(&why) => {
                let wait = backoff.after(&why);
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
    header: &OfRun<UploadHeader>,
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
