//! The sum of clipped per-example gradients of one Poisson batch, by one backward pass a micro-batch.
//!
//! A zero leaf is added to every layer's output; with `a` the layer's input and `δ` the gradient at its output, an
//! example's gradient is `δᵀa` for the weights and `δ` for the bias. So its squared norm is `(‖a‖² + 1)‖δ‖²`, summed
//! over the layers, and the clipped sum is `Σ c δᵀa`: no example's gradient is ever formed.
//!
//! # Privacy
//! Two tables that differ by one record must give sums that differ by at most C. Micro-batches have a fixed shape,
//! and in it an output row of a matrix product depends on its own input row only, at whatever place it stands (a
//! test holds burn to that, bit for bit). So the sums differ by that record's term and by the rounding of the f64
//! additions in both, at most `2 B² 2^-53 C` for batches of B rows. Terms are clipped to `C (1 - 2^-12)`, which leaves
//! room for that up to B = 2^20, a constant of this program and not of the plan: a silo that refused batches above a
//! number of the plan's would tell the size of its data to whoever chooses the plan.

use chacha20::ChaCha20Rng;
use datasets::Dataset;
use dp::ClippedSum;
use identity::Plan;
use params::Params;
use rand_core::SeedableRng;

use crate::TrainError;
use crate::batch::Batch;
use crate::network::{self, Network, cross_entropy};
use crate::poisson;

/// What a term's norm stays below C by; see the module.
const MARGIN: f64 = 1.0 / (1u64 << 12) as f64;
/// See the module.
const ROWS_MAX: usize = 1 << 20;

/// Samples a batch and sums its clipped descent directions.
///
/// # Shapes
/// One value per parameter, in the layout's order.
pub(crate) fn sum(
    plan: &Plan,
    model: &Params,
    data: &Dataset,
    clip_norm: f64,
    sampling_rate: f64,
    seed: [u8; 32],
) -> Result<ClippedSum, TrainError> {
    let batch = poisson::sample(data.rows(), sampling_rate, &mut ChaCha20Rng::from_seed(seed));
    if batch.len() > ROWS_MAX {
        return Err(TrainError::Batch { rows_max: ROWS_MAX });
    }
    let architecture = plan.architecture();
    let device = network::training_device();
    let network = Network::load(&architecture, model, &device);
    let mut sum = vec![0.0f64; model.values().len()];
    for rows in batch.chunks(plan.training.micro_batch) {
        let padded = Batch::gather(data, rows, plan.training.micro_batch, architecture.outputs);
        let tapped = network.forward_tapped(padded.inputs(&device), &device);
        // The sum, not the mean: an example's gradient must not depend on how many others there are.
        let gradients = cross_entropy(tapped.logits, padded.targets(&device)).backward();
        let mut layers = Vec::with_capacity(tapped.taps.len());
        for (input, tap) in tapped.inputs.into_iter().zip(tapped.taps) {
            let outer = tap
                .grad(&gradients)
                .ok_or_else(|| TrainError::Tensor("a tap has no gradient after the backward pass".into()))?;
            let [_, width_in] = input.dims();
            let [_, width_out] = outer.dims();
            layers.push(Layer {
                input: network::values(input)?,
                outer: network::values(outer)?,
                width_in,
                width_out,
            });
        }
        for row in 0..rows.len() {
            add_clipped(&mut sum, &layers, row, clip_norm);
        }
    }
    Ok(ClippedSum::new(sum, clip_norm, batch.len() as u64)?)
}

/// One layer's part of a micro-batch.
struct Layer {
    input: Vec<f32>,
    outer: Vec<f32>,
    width_in: usize,
    width_out: usize,
}

impl Layer {
    fn row(&self, row: usize) -> (&[f32], &[f32]) {
        let slice = |values: &'_ [f32], width: usize| -> std::ops::Range<usize> {
            let start = (row * width).min(values.len());
            start..(start + width).min(values.len())
        };
        (
            self.input.get(slice(&self.input, self.width_in)).unwrap_or_default(),
            self.outer.get(slice(&self.outer, self.width_out)).unwrap_or_default(),
        )
    }
}

/// Adds one example's clipped, negated gradient. One that is not finite adds nothing.
fn add_clipped(sum: &mut [f64], layers: &[Layer], row: usize, clip_norm: f64) {
    let norm = layers
        .iter()
        .map(|layer| {
            let (input, outer) = layer.row(row);
            (squared_norm(input) + 1.0) * squared_norm(outer)
        })
        .sum::<f64>()
        .sqrt();
    if !norm.is_finite() {
        return;
    }
    let bound = clip_norm * (1.0 - MARGIN);
    let factor = if norm > bound { bound / norm } else { 1.0 };
    let mut rest = sum;
    for layer in layers {
        let (input, outer) = layer.row(row);
        let (weights, behind) = rest.split_at_mut((input.len() * outer.len()).min(rest.len()));
        let (bias, behind) = behind.split_at_mut(outer.len().min(behind.len()));
        for (input, weights) in input.iter().zip(weights.chunks_exact_mut(outer.len().max(1))) {
            // Zeros are multiplied like everything else: skipping them would make time tell how sparse a record is.
            let scaled = factor * f64::from(*input);
            for (weight, outer) in weights.iter_mut().zip(outer) {
                *weight -= scaled * f64::from(*outer);
            }
        }
        for (bias, outer) in bias.iter_mut().zip(outer) {
            *bias -= factor * f64::from(*outer);
        }
        rest = behind;
    }
}

fn squared_norm(values: &[f32]) -> f64 {
    values.iter().map(|value| f64::from(*value) * f64::from(*value)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(input: [f32; 2], outer: [f32; 1]) -> Layer {
        Layer { input: input.into(), outer: outer.into(), width_in: 2, width_out: 1 }
    }

    #[test]
    fn an_example_that_is_not_finite_adds_nothing() {
        for bad in [f32::NAN, f32::INFINITY, f32::MAX] {
            let mut sum = [1.0, 2.0, 3.0];
            add_clipped(&mut sum, &[layer([bad, 1.0], [bad])], 0, 1.0);
            if bad == f32::MAX {
                // Its norm fits f64, so it is a gradient like any other: clipped, and no longer.
                let moved = (sum[0] - 1.0).hypot(sum[1] - 2.0).hypot(sum[2] - 3.0);
                assert!(moved <= 1.0 && moved > 0.99, "{moved}");
            } else {
                assert_eq!(sum, [1.0, 2.0, 3.0]);
            }
        }
    }

    #[test]
    fn a_term_never_exceeds_the_clip_norm() {
        for clip in [1e-3, 0.5, 7.0] {
            let mut sum = [0.0; 3];
            add_clipped(&mut sum, &[layer([3.0, -4.0], [5.0])], 0, clip);
            let norm = sum[0].hypot(sum[1]).hypot(sum[2]);
            assert!(norm <= clip && norm > 0.999 * clip, "{norm} of {clip}");
        }
    }
}
