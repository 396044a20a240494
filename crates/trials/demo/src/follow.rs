//! The published models as they appear, each judged on rows that no silo has.

use std::sync::Arc;

use checkpoint::{Manifest, ModelError};
use datasets::{Dataset, DatasetError, digits};
use ed25519_dalek::VerifyingKey;
use identity::with_causes;
use operate::{Models, ModelsError};
use plan::Plan;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinError;
use tonic::transport::Channel;
use trainer::TrainError;

/// Checkpoints that wait to be shown; evaluation pauses when nobody takes them.
const WAITING_MAX: usize = 64;

/// A published version and how well it does.
#[derive(Debug, Clone)]
pub struct EvaluatedVersion {
    /// Its signed record.
    pub manifest: Manifest,
    /// Fraction of the held-out rows that it classifies correctly.
    pub accuracy: f64,
}

/// Why the published models are no longer followed.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// The rows that are kept apart are no table of the plan's.
    #[error("{}", with_causes(.0))]
    HeldOut(#[source] Box<DatasetError>),
    /// A record or a model is not served, or is not what was signed.
    #[error(transparent)]
    Models(#[from] ModelsError),
    /// A panic, or the end of this process.
    #[error("the evaluation of a model stopped: {0}")]
    Stopped(#[source] JoinError),
    /// A model is none of the plan's.
    #[error("{}", with_causes(.0))]
    Model(#[source] ModelError),
    /// The rows cannot be classified.
    #[error("{}", with_causes(.0))]
    Evaluation(#[source] TrainError),
}

/// Fetches, checks and evaluates every checkpoint up to the round that `head` last named, until `head` is dropped.
///
/// In a task of its own: the rounds, and whoever watches them, do not wait for it.
pub(crate) fn follow(
    channel: Channel,
    key: VerifyingKey,
    plan: Plan,
    mut head: watch::Receiver<Option<u64>>,
) -> mpsc::Receiver<Result<EvaluatedVersion, FollowError>> {
    let (found, checkpoints) = mpsc::channel(WAITING_MAX);
    tokio::spawn(async move {
        let mut follower = match Follower::new(channel, key, plan) {
            Ok(follower) => follower,
            Err(why) => {
                let _ = found.send(Err(why)).await;
                return;
            }
        };
        // A checkpoint may have been published between the first look and the first change.
        while head.changed().await.is_ok() {
            if let Err(why) = follower.catch_up(&found).await {
                let _ = found.send(Err(why)).await;
                return;
            }
        }
    });
    checkpoints
}

struct Follower {
    models: Models,
    plan: Arc<Plan>,
    held_out: Arc<Dataset>,
}

impl Follower {
    fn new(channel: Channel, key: VerifyingKey, plan: Plan) -> Result<Self, FollowError> {
        let table = digits::table(digits::held_out_rows());
        let held_out = Dataset::from_csv("held-out rows", table.as_bytes(), &plan.data)
            .map_err(|why| FollowError::HeldOut(why.into()))?;
        Ok(Self {
            models: Models::new(channel, Some(key)),
            plan: Arc::new(plan),
            held_out: Arc::new(held_out),
        })
    }

    async fn catch_up(
        &mut self,
        found: &mpsc::Sender<Result<EvaluatedVersion, FollowError>>,
    ) -> Result<(), FollowError> {
        for manifest in self.models.new_records().await? {
            let file = self.models.fetch(&manifest).await?;
            let (plan, held_out) = (self.plan.clone(), self.held_out.clone());
            let accuracy = tokio::task::spawn_blocking(move || accuracy(&plan, &file, &held_out))
                .await
                .map_err(FollowError::Stopped)??;
            if found.send(Ok(EvaluatedVersion { manifest, accuracy })).await.is_err() {
                return Ok(());
            }
        }
        Ok(())
    }
}

fn accuracy(plan: &Plan, file: &[u8], held_out: &Dataset) -> Result<f64, FollowError> {
    let params = checkpoint::read_model(file, &plan.architecture().layout()).map_err(FollowError::Model)?;
    let metrics = train::evaluate(plan, &params, held_out).map_err(FollowError::Evaluation)?;
    Ok(metrics.accuracy)
}
