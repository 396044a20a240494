//! What a silo believes of what a trainer answers.
//!
//! A trainer is a process with the data and without the network; what it answers is checked by one with the network and without the
//! data. So what is checked follows from the plan, the round and the numbers alone. Nothing is put right: an answer that breaks
//! its bounds is no answer, and the silo contributes what it would without data.
//!
//! # Privacy
//! Inside its bounds a trainer can lie, and this is what rests on it ([`PrivacyMode::trusts_the_trainer_with`] says it in a line):
//!
//! * `fedavg`: everything finite. Coordinates are clipped to ± `coordinate_max` and metrics to their ranges after it, rows weigh `rows_max` at
//!   most; within that an update may say anything of the data, as an honest one may.
//! * `distributed_dp_sgd`: that the sum is one of gradients clipped one by one, of the rows that chance drew. The sum is held to
//!   as many clip norms as it claims rows, which is much more than a record's. The noise is not the trainer's, but it hides one clip norm: a
//!   trainer that lies can say more of its silo's records than the plan promises.
//! * `silo_dp_sgd`: the clipping, the batches and all of the noise. Nothing but finiteness can be seen of it; the integers are cut at
//!   ± `coordinate_max` as in `fedavg`.
//! * `distributed_dp_fedavg`, `central_dp_fedavg`: nothing that the promise rests on. Whatever the vector is, it is within the ball that the
//!   noise is calibrated for, and where the clip norm moves one bit beside it is either.
//!
//! A batch of more rows than the plan's `batch_rows_max` is no lie: that number sizes the integers, chance and the table's size
//! decide the batch's, and to leave the silo's rows out for it would tell of them.

use std::fmt;

use dp::{ClippedSum, ClippedUpdate, LocalUpdate, UpdateError};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::document::Plan;
use crate::mechanism::Learned;
use crate::privacy::{Exact, Privacy, PrivacyMode, Scheme};

/// Most rows of a table.
pub const TABLE_ROWS_MAX: u64 = 1 << 29;

/// What a trainer answers, as plain numbers: [`Learned`] taken apart, to cross between two processes of one silo.
///
/// # Privacy
/// Stays in the silo.
///
/// # Security
/// Zeroised on drop, never printed.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct TrainerAnswer {
    /// The update or the sum, one value per parameter, in the layout's order.
    pub values: AnswerValues,
    /// Rows that it is of: those trained on in `fedavg`, those of the batch in `distributed_dp_sgd`; zero in the others.
    pub rows: u64,
    /// Units within the clip norm, less those beyond it: of the rows of a sum, of the one update in a mode that hides whole silos;
    /// zero in the others.
    pub within_less_beyond: i64,
    /// As [`Plan::METRICS`] names them, in `fedavg`; zeros in the others.
    pub metrics: [f64; 2],
}

/// The numbers of an answer.
#[derive(Zeroize, ZeroizeOnDrop)]
pub enum AnswerValues {
    /// Of an update.
    F32(Vec<f32>),
    /// Of a sum of gradients.
    F64(Vec<f64>),
}

/// Why an answer is not believed.
///
/// # Privacy
/// For the silo's own log: it may say something of the data.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum AnswerError {
    /// Another precision than the mode has, or numbers that the mode does not ask for.
    #[error("the trainer answered with another kind of contribution than {0} has")]
    Kind(PrivacyMode),
    #[error("the trainer answered with {got} numbers for a model of {wanted} parameters")]
    Length {
        got: usize,
        /// Parameters of the model.
        wanted: usize,
    },
    /// Not finite, or longer than what was clipped can be.
    #[error("the trainer's answer cannot be: {0}")]
    Values(#[from] UpdateError),
    #[error("the trainer answered for {0} rows, and no table has more than {TABLE_ROWS_MAX}")]
    Rows(u64),
    /// A loss below zero, or a share that is none, or one that is not finite.
    #[error("the trainer answered with a {0} that no model has")]
    Metric(&'static str),
    /// A mode that clips got nothing to hold the answer to.
    #[error("the plan's mode clips, and no clip norm was given")]
    NoClipNorm,
}

impl AnswerValues {
    /// How many there are.
    pub fn len(&self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::F64(values) => values.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl fmt::Debug for TrainerAnswer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("TrainerAnswer").field("values", &self.values).finish_non_exhaustive()
    }
}

impl fmt::Debug for AnswerValues {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("AnswerValues").field("length", &self.len()).finish_non_exhaustive()
    }
}

impl From<Learned> for TrainerAnswer {
    fn from(learned: Learned) -> Self {
        match learned {
            Learned::Update { update, rows, metrics } => {
                let values = AnswerValues::F32(update.into_answer());
                Self { values, rows, within_less_beyond: 0, metrics }
            }
            Learned::Clipped(update) => {
                let (values, was_within) = update.into_answer();
                let within_less_beyond = if was_within { 1 } else { -1 };
                Self { values: AnswerValues::F32(values), rows: 0, within_less_beyond, metrics: [0.0; 2] }
            }
            Learned::Sum(sum) => {
                let (values, rows, within_less_beyond) = sum.into_answer();
                Self { values: AnswerValues::F64(values), rows, within_less_beyond, metrics: [0.0; 2] }
            }
        }
    }
}

impl Plan {
    /// What a trainer learned, from what it answers; an honest answer comes back bit for bit. `clip_norm`: the round's, as
    /// [`Plan::clip_norm_after`] says it.
    ///
    /// # Errors
    /// [`AnswerError`]: the answer is wiped, and nothing is learned.
    ///
    /// # Privacy
    /// What the bounds leave to the trainer stands at the module. Who sees that an answer is not believed is the silo's own operator:
    /// in a mode that promises something, [`Plan::without_data`] takes its place.
    pub fn believe(&self, answer: TrainerAnswer, clip_norm: Option<f64>) -> Result<Learned, AnswerError> {
        let mut answer = answer;
        let (got, wanted) = (answer.values.len(), self.architecture().parameter_count());
        if got != wanted {
            return Err(AnswerError::Length { got, wanted });
        }
        if answer.rows > TABLE_ROWS_MAX {
            return Err(AnswerError::Rows(answer.rows));
        }
        let kind = AnswerError::Kind(self.privacy.mode());
        let clip_norm = || clip_norm.ok_or(AnswerError::NoClipNorm);
        let TrainerAnswer { rows, within_less_beyond, metrics, .. } = answer;
        // Beside its numbers an answer says nothing that its mode does not have.
        let bare = |rows: u64, count: i64| rows == 0 && count == 0 && metrics == [0.0; 2];
        let promise = match &self.privacy {
            Privacy::Exact(exact) => {
                let AnswerValues::F32(values) = &mut answer.values else { return Err(kind) };
                if within_less_beyond != 0 {
                    return Err(kind);
                }
                possible(exact, metrics)?;
                let update = LocalUpdate::new(std::mem::take(values))?;
                return Ok(Learned::Update { update, rows, metrics });
            }
            Privacy::Private(promise) => promise,
        };
        match (&promise.scheme, &mut answer.values) {
            (Scheme::SiloDpSgd { .. }, AnswerValues::F32(values)) if bare(rows, within_less_beyond) => {
                let update = LocalUpdate::new(std::mem::take(values))?;
                Ok(Learned::Update { update, rows, metrics })
            }
            (Scheme::DistributedDpSgd { .. }, AnswerValues::F64(values)) if bare(0, 0) => {
                let values = std::mem::take(values);
                Ok(Learned::Sum(ClippedSum::believed(values, clip_norm()?, rows, within_less_beyond)?))
            }
            (
                Scheme::DistributedDpFedavg { .. } | Scheme::CentralDpFedavg { .. },
                AnswerValues::F32(values),
            ) if bare(rows, 0) && matches!(within_less_beyond, 1 | -1) => {
                let values = std::mem::take(values);
                Ok(Learned::Clipped(ClippedUpdate::believed(values, clip_norm()?, within_less_beyond == 1)?))
            }
            _ => Err(kind),
        }
    }
}

/// Metrics that do not leave are whatever they are: a loss that is not finite is no reason to leave an update out.
fn possible(exact: &Exact, [loss, accuracy]: [f64; 2]) -> Result<(), AnswerError> {
    let [of_loss, of_accuracy] = Plan::METRICS;
    let sound = |metric: f64, highest: f64| !exact.evaluate || (0.0..=highest).contains(&metric);
    if !sound(loss, f64::MAX) {
        return Err(AnswerError::Metric(of_loss));
    }
    if !sound(accuracy, 1.0) {
        return Err(AnswerError::Metric(of_accuracy));
    }
    Ok(())
}
