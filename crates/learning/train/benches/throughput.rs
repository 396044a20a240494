//! Examples per second of plain training and of per-example clipping, on the models of a 28×28 image.

use std::time::Instant;

use datasets::Dataset;
use params::{Activation, Architecture, Layer, Shape};
use plan::{
    Cohort, Data, Exact, Feature, LocalOptimizer, Model, Plan, Privacy, Promise, Sampling, Scheme, Timing,
    Training, Weights,
};
use train::BurnTrainer;
use trainer::Trainer;

const SIDE: usize = 28;
const BATCH: usize = 64;
const ROWS: usize = 640;
const REPETITIONS: usize = 5;

#[expect(clippy::print_stdout, reason = "a benchmark reports")]
fn main() {
    let linear = |width| Layer::Linear { width, tied_to: None };
    let conv = |channels| Layer::Conv2d { channels, kernel: 3, stride: 1, padding: 1 };
    let image = Shape::Image { channels: 1, height: SIDE, width: SIDE };
    let pool = || Layer::MaxPool { size: 2 };
    let cnn = vec![
        conv(16),
        Layer::Relu {},
        pool(),
        conv(32),
        Layer::Relu {},
        pool(),
        Layer::Flatten {},
        linear(10),
    ];
    let models = [
        ("MLP 784-128-64-10", Architecture::perceptron(SIDE * SIDE, &[128, 64], Activation::Relu, 10)),
        ("CNN conv16-pool-conv32-pool-linear10", Architecture { input: image, layers: cnn }),
    ];
    for (name, network) in models {
        let (plain, private) = (plan(&network, false), plan(&network, true));
        let data = table(&plain);
        // Alternating, so that whatever else the machine does meets both.
        let (mut best_plain, mut best_private) = (f64::INFINITY, f64::INFINITY);
        for _ in 0..REPETITIONS {
            // A round of local training begins with an evaluation, which is no training.
            best_plain = best_plain.min(seconds(&plain, &data) - evaluation_seconds(&plain, &data));
            best_private = best_private.min(seconds(&private, &data));
        }
        println!(
            "{name}: plain {:.0}/s, per-example clipping {:.0}/s, ratio {:.2}",
            ROWS as f64 / best_plain,
            ROWS as f64 / best_private,
            best_plain / best_private
        );
    }
}

/// One pass over the table, in batches of 64 or as one batch in micro-batches of 64.
fn seconds(plan: &Plan, data: &Dataset) -> f64 {
    let model = plan.initial_model();
    let start = Instant::now();
    if let Err(why) = BurnTrainer.train(plan, &model, data, plan.clip_norm(), [1; 32]) {
        panic!("{why}");
    }
    start.elapsed().as_secs_f64()
}

fn evaluation_seconds(plan: &Plan, data: &Dataset) -> f64 {
    let model = plan.initial_model();
    let start = Instant::now();
    if let Err(why) = train::evaluate(plan, &model, data) {
        panic!("{why}");
    }
    start.elapsed().as_secs_f64()
}

fn table(plan: &Plan) -> Dataset {
    let header: String = plan.data.features.iter().map(|feature| format!("{},", feature.name())).collect();
    let mut csv = format!("{header}label\n");
    for row in 0..ROWS {
        for pixel in 0..SIDE * SIDE {
            csv.push_str(&format!("{},", (row * 31 + pixel * 7 + row * pixel) % 256));
        }
        csv.push_str(&format!("{}\n", row % 10));
    }
    match Dataset::from_csv("synthetic", csv.as_bytes(), &plan.data) {
        Ok(data) => data,
        Err(why) => panic!("{why}"),
    }
}

fn plan(network: &Architecture, private: bool) -> Plan {
    let feature = |pixel: usize| Feature::range(format!("pixel_{pixel}"), 0.0, 255.0);
    let privacy = if private {
        Privacy::Private(Promise {
            epsilon: 8.0,
            delta: 1e-5,
            noise_multiplier: 1.0,
            clip_norm: 1.0,
            scale_bits: 16,
            scheme: Scheme::DistributedDpSgd {
                sampling: Sampling {
                    unit: plan::Sampled::Record,
                    rate: 1.0,
                    divisor: ROWS as f64,
                    rows_max: 1024,
                },
                remove_excess_noise: false,
                adaptive_clip: None,
            },
        })
    } else {
        Privacy::Exact(Exact {
            coordinate_max: 4.0,
            fraction_bits: 20,
            weights: Weights::Uniform,
            evaluate: false,
            loss_max: 10.0,
        })
    };
    Plan {
        format: None,
        id: None,
        federation: None,
        parent: None,
        name: "throughput".into(),
        rounds: 1,
        model: Model {
            hidden: Vec::new(),
            activation: Activation::Relu,
            initial_seed: 1,
            network: Some(network.clone()),
        },
        data: Data {
            label: "label".into(),
            classes: 10.into(),
            scaled_to: [0.0, 1.0],
            features: (0..SIDE * SIDE).map(feature).collect(),
            class_weights: None,
        },
        training: Training {
            local_epochs: 1,
            batch_size: BATCH,
            optimizer: LocalOptimizer::Sgd,
            learning_rate: 0.1,
            micro_batch: BATCH,
        },
        server: optim::ServerOptimizer::FedAvg { learning_rate: 1.0, momentum: 0.0 },
        privacy,
        cohort: Cohort { minimum: 3, maximum: 5, corrupt: 1, honest_min: 2 },
        timing: Timing {
            round_deadline_ms: 10_000,
            minimum_wait_ms: 1,
            ready_after_ms: 0,
            attempts_max: 1,
            patience_days: None,
        },
    }
}
