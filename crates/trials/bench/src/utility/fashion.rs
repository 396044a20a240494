//! Fashion-MNIST: a small convolutional network, with and without privacy.

use std::fmt::Write;
use std::fs::File;
use std::path::Path;

use datasets::{Dataset, idx};
use params::{Activation, Architecture, Layer, Shape};
use plan::{Exact, Model, Plan, Privacy, Promise, Sampling, Scheme, Weights};

use super::measure::{DELTA, Setup, accuracies, averaging, epsilon, percent, training};
use crate::error::UtilityError;

const SIDE: usize = 28;
const SILOS: usize = 5;
const HONEST_MIN: usize = 3;
const ROWS: f64 = 60_000.0;
const RATE: f64 = 0.01;
const NOISE: f64 = 1.0;
const CLIP: f64 = 1.0;
const STEPS: [u64; 3] = [150, 300, 600];
/// Rounds of one local epoch each.
const PLAIN_ROUNDS: [u64; 2] = [2, 5];

pub(super) fn report(folder: &Path, seeds: u8) -> Result<String, UtilityError> {
    let (private, plain) = (plan(true), plan(false));
    let all = table(folder, "train", &private)?;
    let held_out = table(folder, "t10k", &private)?;
    let silo = |silo| all.only(&(silo..all.rows()).step_by(SILOS).collect::<Vec<_>>());
    let silos: Option<Vec<Dataset>> = (0..SILOS).map(silo).collect();
    let silos = silos.ok_or(UtilityError::NoRow)?;
    let mut text = format!(
        "# Fashion-MNIST: a convolutional network\n\n\
         Made by `folkmoot bench utility`; {seeds} seed(s), mean ± standard deviation of the held-out accuracy in per cent (10,000 images). Xiao, Rasul, Vollgraf\n\
         2017, MIT. Five silos with equal shares of 60,000 images; conv 16 - pool - conv 32 - pool - linear 10, tanh, {} parameters.\n\
         *Mode B*: distributed DP-SGD, sampling rate {RATE}, noise multiplier {NOISE}, clip norm {CLIP}, delta {DELTA:e}, epsilon by RDP\n\
         at integer orders for one record added or removed. *Without privacy*: federated averaging, one local epoch a round,\n\
         batches of 64. For comparison, trained centrally without privacy: logistic regression 84.4, a perceptron of 128 88.3.\n\n\
         | training | rounds | epsilon | accuracy |\n| --- | --- | --- | --- |\n",
        private.architecture().parameter_count()
    );
    let measured = accuracies(&private, &silos, &held_out, &STEPS, seeds)?;
    for (steps, accuracies) in STEPS.iter().zip(&measured) {
        let epsilon = epsilon(RATE, NOISE, *steps)?;
        let _ = writeln!(
            text,
            "| mode B | {steps} | {} | {} |",
            accounting::rounded_up(epsilon, 2),
            percent(accuracies)
        );
    }
    let measured = accuracies(&plain, &silos, &held_out, &PLAIN_ROUNDS, seeds)?;
    for (rounds, accuracies) in PLAIN_ROUNDS.iter().zip(&measured) {
        let _ = writeln!(text, "| without privacy | {rounds} | none | {} |", percent(accuracies));
    }
    Ok(text)
}

fn plan(private: bool) -> Plan {
    let conv = |channels| Layer::Conv2d { channels, kernel: 3, stride: 1, padding: 1 };
    let pool = || Layer::MaxPool { size: 2 };
    let network = Architecture {
        input: Shape::Image { channels: 1, height: SIDE, width: SIDE },
        layers: vec![
            conv(16),
            Layer::Tanh {},
            pool(),
            conv(32),
            Layer::Tanh {},
            pool(),
            Layer::Flatten {},
            Layer::Linear { width: 10, tied_to: None },
        ],
    };
    let privacy = if private {
        Privacy::Private(Promise {
            epsilon: 8.0,
            delta: DELTA,
            noise_multiplier: NOISE,
            clip_norm: CLIP,
            scale_bits: 16,
            scheme: Scheme::DistributedDpSgd {
                // Over the expected batch, the noised sum estimates the mean gradient.
                sampling: Sampling {
                    unit: plan::Sampled::Record,
                    rate: RATE,
                    divisor: RATE * ROWS,
                    rows_max: 1024,
                },
                remove_excess_noise: true,
                adaptive_clip: None,
            },
        })
    } else {
        Privacy::Exact(Exact {
            coordinate_max: 4.0,
            fraction_bits: 24,
            weights: Weights::Uniform,
            evaluate: false,
            loss_max: 10.0,
        })
    };
    Setup {
        data: idx::data_section(SIDE * SIDE, 10, [-0.5, 0.5]),
        model: Model {
            hidden: Vec::new(),
            activation: Activation::Tanh,
            initial_seed: 1,
            network: Some(network),
        },
        training: training(1, 64, 0.05),
        server: if private { averaging(0.5, 0.9) } else { averaging(1.0, 0.0) },
        privacy,
        honest_min: HONEST_MIN,
        rounds: STEPS.into_iter().fold(0, u64::max),
    }
    .plan(SILOS)
}

fn table(folder: &Path, part: &str, plan: &Plan) -> Result<Dataset, UtilityError> {
    let open = |kind: &str| {
        let path = folder.join(format!("{part}-{kind}-ubyte.gz"));
        File::open(&path).map_err(|why| UtilityError::File { path, why })
    };
    Ok(idx::read(open("images-idx3")?, open("labels-idx1")?, &plan.data)?)
}
