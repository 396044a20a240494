//! Opening a sum and stepping the model: what a worker does for a [`SumJob`].

use std::collections::BTreeMap;

use optim::State;
use params::{Digest, Params};
use plan::{Plan, SumError};
use secagg::{MaskRemoval, RecoverError, recover};

use super::{SumFailure, SumJob};

/// A model and what it came from.
#[derive(Debug)]
pub struct NextModel {
    /// The stepped parameters.
    pub params: Params,
    /// The stepped optimiser.
    pub state: State,
    /// Of the opened integer sum.
    pub aggregate: Digest,
    /// The opened sum, lanes of 32 bits, little endian: what members step the model by themselves with.
    pub sum: Vec<u8>,
    /// What was summed beside the update, and what follows from that.
    pub metrics: BTreeMap<String, f64>,
}

impl SumJob {
    /// What turns the wrapping sum of the staged vectors into the sum of the updates.
    ///
    /// # Errors
    /// The dealer of a wrong secret; nothing may be published then.
    pub fn removal(&self) -> Result<MaskRemoval, SumFailure> {
        recover(&self.cohort, &self.included, &self.answers).map_err(|why| match why {
            RecoverError::Dealer(client) => SumFailure::WrongSecret(client),
            other => SumFailure::BadAggregate(other.to_string()),
        })
    }
}

/// Reads an opened sum and steps the model by it.
///
/// # Errors
/// [`SumFailure::Weights`] where the weights of the sum cannot be right, [`SumFailure::BadAggregate`] where it is no mean or the stepped model is not finite.
pub fn next_model(
    plan: &Plan,
    sum: &[u32],
    included: usize,
    params: &Params,
    state: State,
) -> Result<NextModel, SumFailure> {
    let mechanism = plan.mechanism().map_err(|why| SumFailure::BadAggregate(why.to_string()))?;
    let read = mechanism.read_sum(sum, included, &state).map_err(|why| match why {
        SumError::Weights(why) => SumFailure::Weights(why),
        SumError::Other(why) => SumFailure::BadAggregate(why),
    })?;
    let sum: Vec<u8> = sum.iter().flat_map(|lane| lane.to_le_bytes()).collect();
    let (params, state) = optim::step(&plan.server, state, params, &read.update)
        .map_err(|why| SumFailure::BadAggregate(why.to_string()))?;
    let state = match read.clip_norm {
        Some(clip_norm) => state.with_clip_norm(clip_norm),
        None => state,
    };
    let metrics = read.metrics.into_iter().map(|(name, mean)| (name.to_owned(), mean)).collect();
    Ok(NextModel { params, state, aggregate: aggregate_digest(&sum), sum, metrics })
}

/// The name of an opened sum, of its lanes as bytes.
pub fn aggregate_digest(sum: &[u8]) -> Digest {
    Digest::of("folkmoot/v1/aggregate", &[sum])
}
