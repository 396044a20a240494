//! Training within limits, and what stands for one that fails.
//!
//! # Privacy
//! In a mode that promises something about records, who takes part and when is an output like the sum. So a training that
//! fails, however it does, is replaced by what a silo without data contributes, with its full noise, and what comes of either
//! is declared at the plan's time. The operator hears of it, and the ledger calls the round an exact release: what is missing
//! from the sum is all of the silo's rows. Only where nothing is promised may a silo sit out.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use audit::Action;
use params::Digest;
use plan::{AuthoredPlan, Contribution, Learned};
use protocol::{TrainJob, origin_of};
use published::Version;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::{TableRead, TrainFault, TrainerPool};

/// Where the silo's data is read and trained on, by trainers; here it is seen that they do it in time.
#[derive(Clone)]
pub struct Workshop {
    pool: TrainerPool,
    /// The plan that its operator was last warned of.
    warned: Arc<Mutex<Option<Digest>>>,
}

/// What a training came to.
pub struct TrainingResult {
    /// Of the data, or of none where that failed.
    pub contribution: Contribution,
    /// What takes its place where it cannot be protected; none where nothing is promised, nor for itself.
    pub stand_in: Option<Contribution>,
    /// Of the table that was trained on.
    pub data_version: Option<Digest>,
    /// Whether the table that was trained on has nothing to contribute.
    pub empty: bool,
    /// Why the contribution is made without the data, where it is.
    pub failed: Option<String>,
}

impl Workshop {
    /// Of these trainers.
    pub fn new(pool: TrainerPool) -> Self {
        Self { pool, warned: Arc::default() }
    }

    /// The version of the run's table.
    ///
    /// # Errors
    /// [`TrainFault`]: where something is promised, nobody outside may see that there was one, nor when.
    pub async fn read(&self, run: Digest, plan: Arc<AuthoredPlan>) -> Result<Digest, TrainFault> {
        Ok(self.pool.read(run, plan).await?.version)
    }

    /// Nothing more is asked for this run: what it has in memory goes.
    pub fn run_is_over(&self, run: Digest) {
        self.pool.dismiss(run);
    }

    /// Trains on this version of the model.
    ///
    /// # Errors
    /// [`TrainFault`]: where something is promised, only what follows from the plan and the model.
    pub async fn train(&self, job: TrainJob, version: &Version) -> Result<TrainingResult, TrainFault> {
        let plan = Arc::clone(&job.plan);
        let clip_norm = plan.clip_norm_after(&version.state).map_err(TrainFault::Training)?;
        // Of what is trained on, not of what was asked for.
        let origin = origin_of(&plan, &version.params, &version.state);
        let made = |learned: Learned| Contribution::new(origin, learned);
        let begun = Instant::now();
        let until = begun + limit(&plan);
        // Beside the training, so that it is there at the plan's time.
        let stand_in = plan.promises().then(|| {
            let (plan, model, seed) = (Arc::clone(&plan), version.params.clone(), job.seed.clone());
            spawn_blocking(move || plan.without_data(&model, clip_norm, *seed))
        });
        let (run, at) = (job.head.run_id, job.at);
        // Given up as it is dropped.
        let training = self.pool.train(job, version.params.clone(), clip_norm, until);
        let trained = timeout_at(until, training)
            .await
            .unwrap_or_else(|_| Err(TrainFault::Late(limit(&plan).as_millis())));
        if plan.promises() && trained.is_ok() {
            self.compare_with_the_plan(&plan, begun.elapsed());
        }
        let Some(stand_in) = stand_in else {
            let (learned, TableRead { version, empty }) = trained?;
            let (contribution, data_version) = (made(learned), Some(version));
            return Ok(TrainingResult { contribution, stand_in: None, data_version, empty, failed: None });
        };
        if let Err(why) = &trained {
            let recorder = self.pool.recorder();
            let event = recorder.of_run(Action::ContributionReplaced, &run, &plan.name);
            recorder.record(event.in_attempt(at.round, at.attempt).with("why", why.without_its_words()));
        }
        let stand_in = stand_in.await.map_err(TrainFault::training)?;
        let stand_in = made(stand_in.map_err(TrainFault::training)?);
        if plan.timing.ready_after_ms > 0 {
            // How long it took, and whether it failed, would tell of the data.
            sleep_until(until).await;
        }
        Ok(match trained {
            Ok((learned, TableRead { version, empty })) => TrainingResult {
                contribution: made(learned),
                stand_in: Some(stand_in),
                data_version: Some(version),
                empty,
                failed: None,
            },
            Err(why) => TrainingResult {
                contribution: stand_in,
                stand_in: None,
                data_version: None,
                empty: false,
                failed: Some(why.to_string()),
            },
        })
    }

    /// Near the plan's time a single slow row, or a busy machine, decides whether all rows are in the sum. Nobody else hears of it.
    fn compare_with_the_plan(&self, plan: &AuthoredPlan, took: Duration) {
        let Some(text) = too_near(plan, took) else { return };
        let warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner).replace(plan.digest());
        if warned != Some(plan.digest()) {
            tracing::warn!("{text}");
        }
    }
}

/// How often what reading and training took has to fit into what the plan gives them.
const TIMES_THAT_FIT: u32 = 3;

/// What is said to the operator where the plan gives training too little more than it took.
fn too_near(plan: &AuthoredPlan, took: Duration) -> Option<String> {
    let limit = limit(plan);
    (took.saturating_mul(TIMES_THAT_FIT) > limit).then(|| {
        format!(
            "reading and training took {} ms and the plan gives them {} ms: one that takes longer is replaced by an empty \
             contribution. Ask the plan's author for a larger ready_after_ms, and set ready_after_ms_min in this silo's policy to {} or more",
            took.as_millis(),
            limit.as_millis(),
            took.saturating_mul(TIMES_THAT_FIT).as_millis()
        )
    })
}

/// How long a training may take once it has its model. Where nothing is promised it is of use until its step is over.
fn limit(plan: &AuthoredPlan) -> Duration {
    match plan.promises() {
        true => Duration::from_millis(plan.timing.training_limit_ms()),
        false => Duration::from_millis(plan.timing.round_deadline_ms / 2),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_that_gives_training_less_than_three_times_what_it_took_is_reported_to_the_operator() {
        let mut plan = sim::private_plan(3, 2, 5.0);
        plan.timing.ready_after_ms = 3_000;
        let key = identity::IdentityKey::from_secret_hex(&hex::encode([101; 32])).unwrap();
        let plan = plan.sign(&key);
        assert_eq!(too_near(&plan, Duration::from_millis(1_000)), None);
        let text = too_near(&plan, Duration::from_millis(1_001)).unwrap();
        assert!(text.contains("took 1001 ms and the plan gives them 3000 ms"), "{text}");
        assert!(text.contains("ready_after_ms_min in this silo's policy to 3003"), "{text}");
    }
}
