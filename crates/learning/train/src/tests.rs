//! Claims about training, on small models and on the digits.

use dp::{ClippedSum, Scale};
use params::{Activation, Architecture, Layer, Shape};
use plan::{Cohort, Exact, Feature, LocalOptimizer, Model, Promise, Sampling, Timing, Training, Weights};

use super::*;
use crate::batch::Batch;
use crate::network::{Network, cross_entropy, training_device};

mod digits;
mod persons;
mod weights;

pub(crate) fn plan(hidden: Vec<usize>, activation: Activation, features: usize, classes: usize) -> Plan {
    let feature = |index: usize| Feature::range(format!("x{index}"), -1.0, 1.0);
    Plan {
        format: None,
        id: None,
        federation: None,
        parent: None,
        name: "test".into(),
        rounds: 1,
        model: Model { hidden, activation, initial_seed: 5, network: None },
        data: plan::Data {
            label: "y".into(),
            classes: classes.into(),
            scaled_to: [-1.0, 1.0],
            features: (0..features).map(feature).collect(),
            class_weights: None,
        },
        training: Training {
            local_epochs: 1,
            batch_size: 32,
            optimizer: LocalOptimizer::Sgd,
            learning_rate: 0.1,
            micro_batch: 4,
        },
        server: identity_server(),
        privacy: Privacy::Private(Promise {
            epsilon: 100.0,
            delta: 1e-5,
            noise_multiplier: 10.0,
            clip_norm: 0.7,
            scale_bits: 16,
            scheme: Scheme::DistributedDpSgd {
                sampling: Sampling { unit: plan::Sampled::Record, rate: 1.0, divisor: 1.0, rows_max: 64 },
                remove_excess_noise: false,
                adaptive_clip: None,
            },
        }),
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

fn identity_server() -> optim::ServerOptimizer {
    optim::ServerOptimizer::FedAvg { learning_rate: 1.0, momentum: 0.0 }
}

fn clip_at(plan: &mut Plan, norm: f64) {
    plan.privacy.promise_mut().unwrap().clip_norm = norm;
}

pub(crate) fn sample_at(plan: &mut Plan, rate: f64) {
    plan.privacy.promise_mut().unwrap().sampling_mut().unwrap().rate = rate;
}

/// Rows that differ in every feature and are of all classes.
pub(crate) fn table(plan: &Plan, rows: usize) -> Dataset {
    let features = plan.data.width();
    let mut csv = (0..features).map(|i| format!("x{i},")).collect::<String>() + "y\n";
    for row in 0..rows {
        for column in 0..features {
            let cell = (row * 7 + column * 3 + row * column) % 19;
            // Tokens are whole numbers from 0; anything else lies around 0.
            let [low, high] = plan.data.scaled_to;
            let value = if low == 0.0 { (cell as f64) % (high + 1.0) } else { (cell as f64 - 9.0) / 10.0 };
            csv.push_str(&format!("{value},"));
        }
        csv.push_str(&format!("{}\n", row % plan.data.classes.count()));
    }
    Dataset::from_csv("test.csv", csv.as_bytes(), &plan.data).unwrap()
}

fn clipped_sum(plan: &Plan, data: &Dataset, seed: u8) -> Vec<i64> {
    let model = plan.initial_model();
    let trained = BurnTrainer.train(plan, &model, data, plan.clip_norm(), [seed; 32]).unwrap();
    let Trained::ClippedSum(sum) = trained else { panic!("mode B sums") };
    lanes(sum)
}

#[test]
fn a_local_step_that_overflows_is_left_out_and_the_silo_takes_part() {
    let mut plan = plan(vec![], Activation::Relu, 3, 2);
    plan.training.learning_rate = 1e38;
    plan.privacy = Privacy::Private(Promise {
        epsilon: 100.0,
        delta: 1e-5,
        noise_multiplier: 3.0,
        clip_norm: 0.5,
        scale_bits: 16,
        scheme: Scheme::SiloDpSgd {
            sampling: Sampling {
                unit: plan::Sampled::Record,
                rate: 1.0,
                // Means in the thousands, times the learning rate.
                divisor: 1e-3,
                rows_max: 64,
            },
            local_steps: 3,
            coordinate_max: 4.0,
            fraction_bits: 20,
        },
    });
    let trained =
        BurnTrainer.train(&plan, &plan.initial_model(), &table(&plan, 40), plan.clip_norm(), [1; 32]);
    assert!(matches!(trained, Ok(Trained::Local { .. })), "{:?}", trained.err());
}

#[test]
fn a_row_that_is_not_there_is_an_error_and_no_other_row_takes_its_place() {
    let plan = plan(vec![], Activation::Relu, 2, 2);
    let data = table(&plan, 3);
    let gather = |rows: &[usize], outputs| Batch::gather(&data, &plan.data, rows, 4, outputs).map(drop);
    assert!(gather(&[0, 2], 2).is_ok());
    assert!(matches!(gather(&[0, 3], 2), Err(TrainError::Row { row: 3, rows: 3 })));
    assert!(matches!(gather(&[0, 1, 2, 0, 1], 2), Err(TrainError::Row { row: 4, rows: 4 })), "no place");
    let classes = data.labels().iter().copied().max().map_or(0, usize::from);
    assert!(matches!(gather(&[0, 1, 2], classes), Err(TrainError::Classes { .. })));
}

#[test]
fn a_row_that_does_not_fit_has_no_loss_and_is_an_error_where_one_is_asked_for() {
    let plan = plan(vec![], Activation::Relu, 2, 2);
    let (data, _) =
        Dataset::from_csv_leniently("silo.csv", "x0,x1,y\n0,0,1\n0,0,2\n".as_bytes(), &plan.data).unwrap();
    let refused = losses(&plan, &plan.initial_model(), &data);
    assert!(matches!(refused, Err(TrainError::Classes { outputs: 2 })), "{refused:?}");
}

#[test]
fn no_batch_is_too_large_to_be_summed() {
    let mut plan = plan(vec![], Activation::Relu, 1, 2);
    plan.training.micro_batch = 1024;
    clip_at(&mut plan, 0.1);
    let row = table(&plan, 1);
    let data = row.only(&vec![0; 600_000]).unwrap();
    let one = descent_sum(&plan, &plan.initial_model(), &row, 0.1).unwrap();
    let all = BurnTrainer.train(&plan, &plan.initial_model(), &data, Some(0.1), [1; 32]).unwrap();
    let Trained::ClippedSum(all) = all else { panic!("mode B sums") };
    assert_eq!(all.rows(), 600_000);
    let lanes = all.quantize_nearest(Scale::from_bits(4).unwrap(), 600_000).unwrap();
    let lanes = lanes.without_noise(dp::WithoutNoise::plan_has_no_privacy()).into_lanes();
    for (lane, one) in lanes.into_iter().zip(one) {
        assert!((f64::from(lane.cast_signed()) - 600_000.0 * 16.0 * one).abs() <= 0.51, "{lane}, {one}");
    }
}

#[test]
fn a_silo_whose_training_overflows_takes_part_with_nothing_where_silos_are_the_unit() {
    let mut plan = plan(vec![], Activation::Relu, 3, 2);
    plan.training.learning_rate = 1e300;
    plan.privacy = Privacy::Private(Promise {
        epsilon: 50.0,
        delta: 1e-5,
        noise_multiplier: 1.0,
        clip_norm: 0.7,
        scale_bits: 16,
        scheme: Scheme::CentralDpFedavg { adaptive_clip: None },
    });
    let data = table(&plan, 40);
    let trained = BurnTrainer.train(&plan, &plan.initial_model(), &data, Some(0.7), [1; 32]);
    assert!(matches!(trained, Ok(Trained::Clipped(_))), "{:?}", trained.err());
}

/// The integers that noise would be added to. Only a test may leave it out: see `WithoutNoise`.
pub(crate) fn lanes(sum: ClippedSum) -> Vec<i64> {
    let scale = Scale::from_bits(24).unwrap();
    let quantized = sum.quantize_nearest(scale, 64).unwrap();
    let plan = dp::WithoutNoise::plan_has_no_privacy();
    quantized.without_noise(plan).into_lanes().into_iter().map(|lane| i64::from(lane.cast_signed())).collect()
}

/// The same by one backward pass for each example, formed and clipped in full.
fn looped_sum(plan: &Plan, data: &Dataset, clip: f64) -> Vec<f64> {
    let architecture = plan.architecture();
    let device = training_device();
    let model = plan.initial_model();
    let mut sum = vec![0.0; model.values().len()];
    for row in 0..data.rows() {
        let network = Network::load(&architecture, &model, &device).require_grad();
        let batch = Batch::gather(data, &plan.data, &[row], 1, architecture.outputs()).unwrap();
        let loss = cross_entropy(network.forward(batch.inputs(&device)).unwrap(), batch.targets(&device));
        let gradients = loss.backward();
        let flat: Vec<f64> = network
            .leaves()
            .flat_map(|leaf| network::values(leaf.grad(&gradients).unwrap()).unwrap())
            .map(f64::from)
            .collect();
        let norm = flat.iter().map(|g| g * g).sum::<f64>().sqrt();
        for (sum, gradient) in sum.iter_mut().zip(flat) {
            *sum -= gradient * (clip / norm).min(1.0);
        }
    }
    sum
}

#[test]
fn the_clipped_sum_is_the_sum_over_single_examples_for_every_model_and_clip() {
    for (hidden, activation) in
        [(vec![], Activation::Relu), (vec![8], Activation::Relu), (vec![8, 6], Activation::Tanh)]
    {
        for clip in [0.05, 0.7, 50.0] {
            let mut plan = plan(hidden.clone(), activation, 5, 3);
            clip_at(&mut plan, clip);
            let data = table(&plan, 11);
            // What clipping leaves room for: see `clipped`.
            let expected = looped_sum(&plan, &data, clip * (1.0 - 2f64.powi(-12)));
            let largest = expected.iter().fold(0.0f64, |m, v| m.max(v.abs()));
            for (lane, expected) in clipped_sum(&plan, &data, 1).into_iter().zip(expected) {
                let value = lane as f64 / f64::from(1 << 24);
                assert!((value - expected).abs() < 1e-5 * largest + 1e-6, "{value} {expected} at {clip}");
            }
        }
    }
}

#[test]
fn the_size_of_micro_batches_changes_the_sum_by_rounding_only() {
    let mut plan = plan(vec![8], Activation::Tanh, 5, 3);
    let data = table(&plan, 13);
    let expected = clipped_sum(&plan, &data, 1);
    assert!(expected.iter().any(|lane| *lane != 0));
    for micro_batch in [1, 5, 13, 16, 64] {
        plan.training.micro_batch = micro_batch;
        for (lane, expected) in clipped_sum(&plan, &data, 1).into_iter().zip(&expected) {
            // 2^-24 a lane; products of another shape may use another kernel.
            assert!((lane - expected).abs() <= 16, "{lane} {expected} in micro-batches of {micro_batch}");
        }
    }
}

#[test]
fn an_examples_gradient_does_not_depend_on_its_place_or_its_company() {
    // What the sensitivity rests on: see `clipped`. Bit for bit, over sizes around the kernels' tiles.
    let device = training_device();
    let mut plans: Vec<Plan> =
        [vec![], vec![33]].map(|hidden| plan(hidden, Activation::Relu, 65, 10)).into_iter().collect();
    plans.extend(networks().into_iter().map(|(_, plan)| plan));
    for plan in plans {
        let architecture = plan.architecture();
        let data = table(&plan, 70);
        let network = Network::load(&architecture, &plan.initial_model(), &device);
        // Every layer's own gradient of every example, as it enters the norm and the sum.
        let gradients = |rows: &[usize]| -> Vec<Vec<Vec<f64>>> {
            let batch = Batch::gather(&data, &plan.data, rows, 64, architecture.outputs()).unwrap();
            let (logits, taps) = network.forward_tapped(batch.inputs(&device)).unwrap();
            let backward = cross_entropy(logits, batch.targets(&device)).backward();
            let plain = crate::network::inference_device();
            let layers: Vec<_> =
                taps.into_iter().map(|tap| tap.gradients(&backward, &plain).unwrap()).collect();
            let of_row = |row: usize| {
                let mut factors = vec![0.0; 64];
                factors[row] = 1.0;
                let of_layer = |layer: &crate::gradients::LayerGradients| {
                    let mut sum = vec![0.0; layer.lanes()];
                    layer.subtract(&mut sum, 0, &factors, &plain).unwrap();
                    sum.push(layer.squared_norm(row));
                    sum
                };
                layers.iter().map(of_layer).collect()
            };
            (0..64).map(of_row).collect()
        };
        let all: Vec<usize> = (0..64).collect();
        let reference = gradients(&all);
        assert!(reference.iter().flatten().flatten().any(|value| *value != 0.0));
        let without_first: Vec<usize> = (1..65).collect();
        let moved = gradients(&without_first);
        for row in 1..64 {
            assert_eq!(reference[row], moved[row - 1], "row {row} after one is removed");
        }
        let alone = gradients(&[17]);
        assert_eq!(alone[0], reference[17], "alone");
    }
}

/// A plan with this network, and data of the range that it takes.
fn plan_of(input: Shape, layers: Vec<Layer>) -> Plan {
    let mut plan = plan(vec![], Activation::Relu, input.values(), 3);
    if let Shape::Tokens { vocabulary, .. } = input {
        plan.data.scaled_to = [0.0, vocabulary as f64 - 1.0];
        for feature in &mut plan.data.features {
            *feature = Feature::range(feature.name().to_owned(), 0.0, vocabulary as f64 - 1.0);
        }
    }
    plan.model.network = Some(Architecture { input, layers });
    if let Err(why) = plan.architecture().validate() {
        panic!("{why}");
    }
    plan
}

/// A plan for each kind of layer, small enough for a loop over examples.
fn networks() -> Vec<(&'static str, Plan)> {
    let image = Shape::Image { channels: 2, height: 6, width: 5 };
    let sequence = Shape::Positions { length: 4, width: 3 };
    let tokens = Shape::Tokens { length: 5, vocabulary: 7 };
    let linear = |width| Layer::Linear { width, tied_to: None };
    let conv = |channels, stride, padding| Layer::Conv2d { channels, kernel: 3, stride, padding };
    let flatten = || Layer::Flatten {};
    vec![
        ("convolution", plan_of(image, vec![conv(4, 1, 1), Layer::Tanh {}, flatten(), linear(3)])),
        ("strides", plan_of(image, vec![conv(3, 2, 0), Layer::Tanh {}, flatten(), linear(3)])),
        ("wide strides", plan_of(image, vec![conv(3, 3, 2), Layer::Tanh {}, flatten(), linear(3)])),
        (
            "pools",
            plan_of(
                image,
                vec![
                    conv(4, 1, 1),
                    Layer::Relu {},
                    Layer::MaxPool { size: 2 },
                    conv(2, 1, 1),
                    Layer::Tanh {},
                    Layer::AveragePool { size: 2 },
                    flatten(),
                    linear(3),
                ],
            ),
        ),
        (
            "group norm",
            plan_of(
                image,
                vec![conv(4, 1, 0), Layer::GroupNorm { groups: 2 }, Layer::Relu {}, flatten(), linear(3)],
            ),
        ),
        (
            "layer norm of vectors",
            plan_of(
                Shape::Vector { width: 6 },
                vec![linear(5), Layer::LayerNorm {}, Layer::Tanh {}, linear(3)],
            ),
        ),
        (
            "linear and norm at positions",
            plan_of(
                sequence,
                vec![linear(6), Layer::LayerNorm {}, Layer::Tanh {}, linear(2), flatten(), linear(3)],
            ),
        ),
        (
            "embedding and mean",
            plan_of(tokens, vec![Layer::Embedding { width: 4 }, Layer::MeanPositions {}, linear(3)]),
        ),
        ("recurrent", plan_of(sequence, vec![Layer::Rnn { width: 5 }, linear(3)])),
        (
            "gated text",
            plan_of(tokens, vec![Layer::Embedding { width: 3 }, Layer::Gru { width: 4 }, linear(3)]),
        ),
    ]
}

#[test]
fn the_clipped_sum_is_the_sum_over_single_examples_for_every_kind_of_layer() {
    for (name, mut plan) in networks() {
        for clip in [0.05, 0.7, 50.0] {
            clip_at(&mut plan, clip);
            let data = table(&plan, 11);
            let expected = looped_sum(&plan, &data, clip * (1.0 - 2f64.powi(-12)));
            let largest = expected.iter().fold(0.0f64, |m, v| m.max(v.abs()));
            let sum = clipped_sum(&plan, &data, 1);
            assert_eq!(sum.len(), expected.len());
            for (index, (lane, expected)) in sum.into_iter().zip(expected).enumerate() {
                let value = lane as f64 / f64::from(1 << 24);
                assert!(
                    (value - expected).abs() < 2e-5 * largest + 1e-6,
                    "{name}, parameter {index}: {value} {expected} at {clip}"
                );
            }
        }
    }
}

#[test]
fn a_token_that_occurs_twice_has_one_gradient() {
    // The norm of a sum is not the sum of norms: with equal tokens everywhere the two differ most.
    let (_, mut plan) = networks().into_iter().find(|(name, _)| *name == "embedding and mean").unwrap();
    clip_at(&mut plan, 0.01);
    let csv = "x0,x1,x2,x3,x4,y\n2,2,2,2,2,1\n3,3,0,3,0,2\n";
    let data = Dataset::from_csv("test.csv", csv.as_bytes(), &plan.data).unwrap();
    let expected = looped_sum(&plan, &data, 0.01 * (1.0 - 2f64.powi(-12)));
    for (lane, expected) in clipped_sum(&plan, &data, 1).into_iter().zip(expected) {
        assert!((lane as f64 / f64::from(1 << 24) - expected).abs() < 1e-6);
    }
}

#[test]
fn a_silos_own_steps_carry_their_noise_in_full() {
    let mut plan = plan(vec![], Activation::Relu, 20, 10);
    let (noise_multiplier, clip_norm, divisor, scale_bits) = (3.0, 0.5, 8.0, 16);
    plan.privacy = Privacy::Private(Promise {
        epsilon: 100.0,
        delta: 1e-5,
        noise_multiplier,
        clip_norm,
        scale_bits,
        scheme: Scheme::SiloDpSgd {
            sampling: Sampling { unit: plan::Sampled::Record, rate: 1.0, divisor, rows_max: 64 },
            local_steps: 1,
            coordinate_max: 4.0,
            fraction_bits: 20,
        },
    });
    let data = table(&plan, 40);
    let update = |plan: &Plan, seed: u8| -> Vec<f32> {
        let model = plan.initial_model();
        let Trained::Local { update, rows, metrics } =
            BurnTrainer.train(plan, &model, &data, plan.clip_norm(), [seed; 32]).unwrap()
        else {
            panic!("silo_dp_sgd brings an update")
        };
        assert_eq!(
            (rows, metrics),
            (0, TrainingMetrics { loss: 0.0, accuracy: 0.0 }),
            "nothing else of the rows is revealed"
        );
        let encoding = dp::ExactEncoding::new(Scale::from_bits(24).unwrap(), 8.0, Vec::new()).unwrap();
        let exact = update.quantize_exact(&encoding, dp::Weight::uniform(encoding.scale()), &[]).unwrap();
        let lanes = exact.update.without_noise(dp::WithoutNoise::plan_has_no_privacy()).into_lanes();
        encoding.decode(&lanes, 1).unwrap().update
    };
    // Every row is in the batch, so two seeds differ by the noise of one step alone.
    let (a, b) = (update(&plan, 1), update(&plan, 2));
    assert_eq!(a, update(&plan, 1));
    let squared: f64 = a.iter().zip(&b).map(|(a, b)| f64::from(a - b).powi(2)).sum();
    let spread = (squared / (2.0 * a.len() as f64)).sqrt();
    let dimension = (a.len() as f64).sqrt();
    let sensitivity = clip_norm + dimension / f64::from(1 << scale_bits);
    let planned = noise_multiplier * sensitivity / divisor * plan.training.learning_rate;
    // 210 differences: five deviations of a standard deviation's estimate are a quarter.
    assert!((spread / planned - 1.0).abs() < 0.25, "{spread} {planned}");
    if let Scheme::SiloDpSgd { local_steps, .. } = &mut plan.privacy.promise_mut().unwrap().scheme {
        *local_steps = 9;
    }
    let (a, b) = (update(&plan, 1), update(&plan, 2));
    let squared: f64 = a.iter().zip(&b).map(|(a, b)| f64::from(a - b).powi(2)).sum();
    let spread = (squared / (2.0 * a.len() as f64)).sqrt();
    assert!((spread / (3.0 * planned) - 1.0).abs() < 0.3, "nine steps, nine noises: {spread}");
}

#[test]
fn an_empty_batch_gives_a_zero_sum() {
    let mut plan = plan(vec![], Activation::Relu, 5, 3);
    sample_at(&mut plan, 1e-12);
    let data = table(&plan, 11);
    assert!(clipped_sum(&plan, &data, 1).iter().all(|lane| *lane == 0));
}

#[test]
fn equal_seeds_give_equal_bits_and_others_other_batches() {
    let mut plan = plan(vec![8], Activation::Relu, 5, 3);
    sample_at(&mut plan, 0.5);
    let data = table(&plan, 40);
    assert_eq!(clipped_sum(&plan, &data, 1), clipped_sum(&plan, &data, 1));
    assert_ne!(clipped_sum(&plan, &data, 1), clipped_sum(&plan, &data, 2));
}

#[test]
fn data_that_does_not_fit_the_model_is_refused() {
    let small = plan(vec![], Activation::Relu, 5, 3);
    let wide = plan(vec![], Activation::Relu, 6, 3);
    let data = table(&small, 5);
    let refused =
        BurnTrainer.train(&wide, &wide.initial_model(), &data, wide.clip_norm(), [0; 32]).unwrap_err();
    assert!(matches!(refused, TrainError::Columns { columns: 5, inputs: 6 }), "{refused}");
    let refused =
        BurnTrainer.train(&small, &wide.initial_model(), &data, small.clip_norm(), [0; 32]).unwrap_err();
    assert!(matches!(refused, TrainError::Layout), "{refused}");
}
