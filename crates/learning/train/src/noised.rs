//! DP-SGD in the silo: several steps, each by a noised sum of clipped gradients of one Poisson batch.

use datasets::Dataset;
use dp::LocalUpdate;
use params::Params;
use plan::{Plan, Scheme};

use crate::{Stop, TrainError, clipped};

/// How the parameters change by the plan's local steps, as [`plan::SiloNoise::steps`] says.
pub(crate) fn train(
    plan: &Plan,
    model: &Params,
    data: &Dataset,
    seed: [u8; 32],
    stop: &Stop,
) -> Result<LocalUpdate, TrainError> {
    let promised = plan.privacy.promise().map(|promise| (promise.clip_norm, &promise.scheme));
    let (Some((clip_norm, Scheme::SiloDpSgd { sampling, .. })), Some(noise)) = (promised, plan.silo_noise()?)
    else {
        return Err(TrainError::Tensor("local noise is for silo_dp_sgd only".into()));
    };
    noise.steps(model, seed, |model, batch| {
        stop.check()?;
        clipped::sum(plan, model, data, clip_norm, sampling.rate, batch, stop)
    })
}
