//! Local training: epochs of shuffled batches.

use chacha20::ChaCha20Rng;
use datasets::Dataset;
use params::Params;
use plan::{LocalOptimizer, Plan};
use rand_core::{Rng, SeedableRng};

use crate::batch::Batch;
use crate::network::{self, Network, cross_entropy};
use crate::{Stop, TrainError};

/// Kingma & Ba 2015, the constants of the paper.
const BETA1: f64 = 0.9;
const BETA2: f64 = 0.999;
const EPSILON: f64 = 1e-8;

/// The parameters after the plan's local epochs; those of the model where no row fits the plan.
pub(crate) fn train(
    plan: &Plan,
    model: &Params,
    data: &Dataset,
    seed: [u8; 32],
    stop: &Stop,
) -> Result<Params, TrainError> {
    let architecture = plan.architecture();
    let device = network::training_device();
    let mut rng = ChaCha20Rng::from_seed(seed);
    let mut values = model.values().to_vec();
    let mut stepper = Stepper::new(plan.training.optimizer, plan.training.learning_rate, values.len());
    let mut order: Vec<usize> = (0..data.rows()).filter(|row| data.fits(*row)).collect();
    for _ in 0..plan.training.local_epochs {
        shuffle(&mut order, &mut rng);
        for rows in order.chunks(plan.training.batch_size) {
            stop.check()?;
            let params = with_values(model, &values)?;
            let network = Network::load(&architecture, &params, &device).require_grad();
            let batch = Batch::gather(data, &plan.data, rows, rows.len(), architecture.outputs())?;
            let logits = network.forward(batch.inputs(&device))?;
            let loss = cross_entropy(logits, batch.targets(&device)) / rows.len() as f64;
            let gradients = loss.backward();
            let mut flat = Vec::with_capacity(values.len());
            for leaf in network.leaves() {
                let gradient = leaf.grad(&gradients).ok_or_else(|| {
                    TrainError::Tensor("a parameter has no gradient after the backward pass".into())
                })?;
                flat.extend(network::values(gradient)?);
            }
            stepper.step(&mut values, &flat);
        }
    }
    with_values(model, &values)
}

fn with_values(model: &Params, values: &[f32]) -> Result<Params, TrainError> {
    Params::new(model.layout().clone(), values.to_vec()).map_err(|_| TrainError::Layout)
}

/// Fisher-Yates; the remainder's bias over any table that fits in memory is below 2^-24.
fn shuffle(order: &mut [usize], rng: &mut impl Rng) {
    for last in (1..order.len()).rev() {
        order.swap(last, (rng.next_u64() % (last as u64 + 1)) as usize);
    }
}

/// The local step, in f64, on flat parameters.
struct Stepper {
    rule: LocalOptimizer,
    learning_rate: f64,
    steps: i32,
    moments: Vec<[f64; 2]>,
}

impl Stepper {
    fn new(rule: LocalOptimizer, learning_rate: f64, lanes: usize) -> Self {
        let moments = if rule == LocalOptimizer::Adam { vec![[0.0; 2]; lanes] } else { Vec::new() };
        Self { rule, learning_rate, steps: 0, moments }
    }

    fn step(&mut self, values: &mut [f32], gradient: &[f32]) {
        self.steps = self.steps.saturating_add(1);
        match self.rule {
            LocalOptimizer::Sgd => {
                for (value, gradient) in values.iter_mut().zip(gradient) {
                    *value = (f64::from(*value) - self.learning_rate * f64::from(*gradient)) as f32;
                }
            }
            LocalOptimizer::Adam => {
                let first_bias = 1.0 - BETA1.powi(self.steps);
                let second_bias = 1.0 - BETA2.powi(self.steps);
                for ((value, gradient), [first, second]) in
                    values.iter_mut().zip(gradient).zip(&mut self.moments)
                {
                    let gradient = f64::from(*gradient);
                    *first = BETA1 * *first + (1.0 - BETA1) * gradient;
                    *second = BETA2 * *second + (1.0 - BETA2) * gradient * gradient;
                    let step = (*first / first_bias) / ((*second / second_bias).sqrt() + EPSILON);
                    *value = (f64::from(*value) - self.learning_rate * step) as f32;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adams_first_step_is_the_learning_rate_in_the_direction_of_the_sign() {
        let mut stepper = Stepper::new(LocalOptimizer::Adam, 0.1, 2);
        let mut values = [1.0, 1.0];
        stepper.step(&mut values, &[1e-3, -5.0]);
        assert!((values[0] - 0.9).abs() < 1e-4 && (values[1] - 1.1).abs() < 1e-6, "{values:?}");
    }

    #[test]
    fn a_shuffle_keeps_every_row_once() {
        let mut order: Vec<usize> = (0..100).collect();
        shuffle(&mut order, &mut ChaCha20Rng::seed_from_u64(3));
        assert_ne!(order, (0..100).collect::<Vec<_>>());
        order.sort_unstable();
        assert_eq!(order, (0..100).collect::<Vec<_>>());
    }
}
