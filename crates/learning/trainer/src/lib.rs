//! What trains a silo's model, whatever library it uses: the trait, what it brings, and why it brings nothing.
//!
//! Owns: [`Trainer`], [`Trained`], [`TrainError`], [`Stop`]; the silo's table, read once for a run, and [`fit`], what an operator hears of it before; and [`serve`], which does a daemon's jobs over
//! a stream that is open, within its [`TrainerRole`]. Does not: hold a tensor library, seal its process, or open a socket.
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

mod fit;
pub mod program;
mod role;
#[cfg(feature = "samples")]
pub mod samples;
mod serve;
mod stop;
mod tables;

use datasets::Dataset;
use dp::{ClippedSum, ClippedUpdate, LocalUpdate};
use params::Params;
use plan::{Learned, Plan};

pub use fit::{FitError, fit};
pub use role::TrainerRole;
pub use serve::{Trainers, serve};
pub use stop::Stop;

/// What training brings.
#[derive(Debug)]
pub enum Trained {
    /// How the parameters changed.
    Local {
        /// New parameters minus old.
        update: LocalUpdate,
        /// Rows trained on.
        rows: u64,
        /// Of the received model, on the silo's rows, before training.
        metrics: TrainingMetrics,
    },
    /// How the parameters changed, clipped as a whole: modes that hide whole silos.
    Clipped(ClippedUpdate),
    /// The sum of clipped descent directions (negated gradients) of one Poisson batch: what the server adds.
    ClippedSum(ClippedSum),
}

impl From<Trained> for Learned {
    fn from(trained: Trained) -> Self {
        match trained {
            Trained::Local { update, rows, metrics } => {
                Self::Update { update, rows, metrics: [metrics.loss, metrics.accuracy] }
            }
            Trained::Clipped(update) => Self::Clipped(update),
            Trained::ClippedSum(sum) => Self::Sum(sum),
        }
    }
}

/// How a model does on a table.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TrainingMetrics {
    /// Mean cross-entropy, in nats.
    pub loss: f64,
    /// Share of rows whose largest logit is the label's; the first of equals counts.
    pub accuracy: f64,
}

/// Why nothing was trained.
///
/// # Privacy
/// For the silo's own log: some of it may say something of the data.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The model's parameters are not the plan's architecture.
    #[error("the model has another layout than the plan's architecture")]
    Layout,
    /// The table has another number of columns than the model has inputs.
    #[error("the data has {columns} feature columns, the model {inputs} inputs")]
    Columns {
        /// Of the table.
        columns: usize,
        /// Of the model.
        inputs: usize,
    },
    /// A label that the model has no output for.
    #[error("the data has a class beyond the model's {outputs} outputs")]
    Classes {
        /// Of the model.
        outputs: usize,
    },
    /// A row that the table does not have.
    #[error("row {row} was asked for, of {rows}")]
    Row {
        row: usize,
        /// How many there are.
        rows: usize,
    },
    /// The model is not finite.
    #[error("the model has a parameter that is not finite")]
    Model,
    /// The architecture is out of bounds.
    #[error(transparent)]
    Architecture(#[from] params::ArchitectureError),
    /// The update cannot be used; usually the client learning rate is too large.
    #[error("the update cannot be used, lower training.learning_rate: {0}")]
    Update(#[from] dp::UpdateError),
    /// The plan's promise is about persons, and the table does not say whose a row is.
    #[error(
        "the plan promises something about persons, and nothing says whose a row of the table is: register the column that does with \
         type = \"person\""
    )]
    NoPersons,
    /// A mode that clips got nothing to clip to.
    #[error("the plan's mode clips, and no clip norm was given")]
    NoClipNorm,
    /// A local step's sum cannot be noised.
    #[error("a local step cannot be noised: {0}")]
    Noise(#[from] plan::ProtectError),
    /// The plan's constants make no mechanism.
    #[error("the plan's {0}")]
    Mechanism(#[from] plan::Problem),
    /// It was asked to stop.
    #[error("training was asked to stop")]
    Stopped,
    /// burn returned something else than was asked for.
    #[error("the tensor library failed: {0}")]
    Tensor(String),
}

/// Trains on a silo's table.
pub trait Trainer: Send {
    /// One round's training from `model`, clipped to `clip_norm` as [`Plan::clip_norm_after`] says it. Equal arguments give
    /// equal results.
    ///
    /// # Errors
    /// [`TrainError`]
    ///
    /// # Privacy
    /// `seed` decides which rows are in a Poisson batch: fresh from the operating system for each call, and secret.
    fn train(
        &mut self,
        plan: &Plan,
        model: &Params,
        data: &Dataset,
        clip_norm: Option<f64>,
        seed: [u8; 32],
    ) -> Result<Trained, TrainError>;
}
