//! Whether a published model follows from the published aggregate: the server's step, done again by a member.

use checkpoint::Manifest;
use optim::State;
use params::{Digest, Params};
use plan::{Origin, Plan};

use crate::coordinator::{SumFailure, aggregate_digest, next_model};

/// Why a published version does not follow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StepFault {
    /// The record is of no round: there is no step to check.
    #[error("the record of round {0} is of no aggregation")]
    NoAggregate(u64),
    /// Other bytes than the record names.
    #[error("the aggregate that was sent is not the one that the record of round {0} names")]
    OtherAggregate(u64),
    /// The step cannot be done.
    #[error("the aggregate gives no model: {0}")]
    Impossible(#[from] SumFailure),
    /// Done, and it gives another model or another state of the server's optimiser.
    #[error(
        "the model of round {round} does not follow from its aggregate: it gives {actual}, published is {published}"
    )]
    OtherModel {
        /// Of the record.
        round: u64,
        /// What the step gives.
        actual: String,
        /// What the record says.
        published: String,
    },
}

/// What the masks of a round that starts from this record are bound to: everything that decides what a silo sends.
///
/// # Privacy
/// Where the clip norm moves, the server's state decides as well as the model. Silos that were shown different states must not
/// be summed: one could be made to send its update, and all others next to nothing.
///
/// # Paper
/// Pasquini et al. 2022 (model inconsistency), of the state.
pub fn round_start(plan: &Plan, head: &Manifest) -> Digest {
    let model = head.model.params_digest;
    if plan.adaptive_clipping().is_none() {
        return model;
    }
    start_of(model, head.optimizer.as_ref().map(|artifact| artifact.sha256))
}

/// What a contribution is made from that is trained on this model and state of the server's: computed from what is trained on,
/// not from what was asked for.
pub fn origin_of(plan: &Plan, params: &Params, state: &State) -> Origin {
    let model = params.digest();
    let moves = plan.adaptive_clipping().is_some();
    let start = if moves { start_of(model, Some(Digest::sha256(&state.to_bytes()))) } else { model };
    Origin { plan: plan.digest(), start }
}

fn start_of(model: Digest, state: Option<Digest>) -> Digest {
    let state = state.map(|sha256| *sha256.as_bytes()).unwrap_or_default();
    Digest::of("folkmoot/v1/model-and-state", &[model.as_bytes(), state.as_slice()])
}

/// Whether a record names the server's state as a plan needs it: version 0's is the plan's own, and where the next step depends
/// on it no record goes without. A silo that has kept the state and one that would begin it anew would judge such a record
/// differently.
pub fn names_state(plan: &Plan, manifest: &Manifest) -> bool {
    match &manifest.optimizer {
        None => !plan.initial_state(0).remembers(),
        Some(artifact) if manifest.round == 0 => {
            let initial = plan.initial_state(plan.architecture().parameter_count());
            Digest::sha256(&initial.to_bytes()) == artifact.sha256
        }
        Some(_) => true,
    }
}

/// Steps `params` and `state`, those of the record before `manifest`, by the published aggregate, and holds the result
/// against the record.
///
/// # Shapes
/// `sum`: the opened sum's lanes of 32 bits, little endian, as the checkpoint's aggregate file holds them.
///
/// # Errors
/// [`StepFault`]: the model must not be trained on.
pub fn check_step(
    plan: &Plan,
    manifest: &Manifest,
    params: &Params,
    state: State,
    sum: &[u8],
) -> Result<(Params, State), StepFault> {
    let round = manifest.round;
    let published = manifest.aggregate_digest.ok_or(StepFault::NoAggregate(round))?;
    let (lanes, rest) = sum.as_chunks::<4>();
    if !rest.is_empty() || lanes.len() != plan.lanes() || aggregate_digest(sum) != published {
        return Err(StepFault::OtherAggregate(round));
    }
    let lanes: Vec<u32> = lanes.iter().map(|lane| u32::from_le_bytes(*lane)).collect();
    let next = next_model(plan, &lanes, manifest.included.len(), params, state)?;
    let actual = next.params.digest();
    let optimizer = manifest.optimizer.as_ref().map(|artifact| artifact.sha256);
    let same_state = names_state(plan, manifest)
        && optimizer.is_none_or(|sha256| Digest::sha256(&next.state.to_bytes()) == sha256);
    if actual != manifest.model.params_digest || !same_state {
        return Err(StepFault::OtherModel {
            round,
            actual: actual.short(),
            published: manifest.model.params_digest.short(),
        });
    }
    Ok((next.params, next.state))
}
