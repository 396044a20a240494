//! DP-SGD in the silo: several steps, each by a noised sum of clipped gradients of one Poisson batch.

use chacha20::ChaCha20Rng;
use datasets::Dataset;
use params::Params;
use plan::{Plan, Scheme};
use rand_core::{Rng, SeedableRng};
use zeroize::Zeroizing;

use crate::{Stop, TrainError, clipped};

/// How the parameters change by the plan's local steps.
///
/// # Privacy
/// What is returned is made of noised integers, public constants and the model that was received: it may be shown to anybody. A step
/// that overflows is the last, and is left out: a refusal would leak something of the data by who takes part, at no charge.
pub(crate) fn train(
    plan: &Plan,
    model: &Params,
    data: &Dataset,
    seed: [u8; 32],
    stop: &Stop,
) -> Result<Vec<f32>, TrainError> {
    let promised = plan.privacy.promise().map(|promise| (promise.clip_norm, &promise.scheme));
    let (Some((clip_norm, Scheme::SiloDpSgd { sampling, local_steps, .. })), Some(noise)) =
        (promised, plan.silo_noise()?)
    else {
        return Err(TrainError::Tensor("local noise is for silo_dp_sgd only".into()));
    };
    // Wiped when dropped; the batches and the noise of every step come from it.
    let mut rng = ChaCha20Rng::from_seed(seed);
    let mut current = model.clone();
    for _ in 0..*local_steps {
        stop.check()?;
        let mut batch = Zeroizing::new([0; 32]);
        rng.fill_bytes(batch.as_mut());
        let sum = clipped::sum(plan, &current, data, clip_norm, sampling.rate, *batch, stop)?;
        let mut step = noise.step(sum, &mut rng)?;
        // Descent directions: they are added.
        step.iter_mut().for_each(|value| *value *= plan.training.learning_rate as f32);
        let next = current.add(&step).map_err(|_| TrainError::Layout)?;
        if !next.difference(model).iter().all(|change| change.is_finite()) {
            break;
        }
        current = next;
    }
    Ok(current.difference(model))
}
