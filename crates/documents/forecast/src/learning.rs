//! How far a round moves the model, how noise adds up beside that, and how long a silo trains.

use optim::ServerOptimizer;
use params::{Architecture, Layer, Shape};
use plan::{Plan, Privacy, Scheme, Weights};
use serde::Serialize;

use crate::NoiseToSignal;

/// Multiplications that one core does in a second, in a forward and a backward pass of f32: assumed, of the order of a
/// server's core, and not measured.
const PRODUCTS_PER_SECOND: f64 = 1e9;
/// A backward pass takes two products for each of the forward pass.
const PASSES: f64 = 3.0;
/// Of a silo whose rows the plan says nothing about.
const ROWS_ASSUMED: f64 = 10_000.0;

/// How far the server moves the model in a round where every gradient points in one direction, noise aside.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ServerStep {
    /// L2 norm, once momentum has built up: `learning_rate * step / (1 - momentum)`.
    pub norm: f64,
    /// The server's rate.
    pub learning_rate: f64,
    /// L2 norm of the mean that the server is given: the clip norm; in `silo_dp_sgd` that of all local steps.
    pub step: f64,
    pub momentum: f64,
    /// Whether the clip norm moves, and this with it.
    pub follows_the_clip_norm: bool,
}

/// How long a silo trains in a round.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct TrainingTime {
    /// Rows that it goes through: a batch, where the plan has a divisor; with weights by rows as many as add weight; else an assumption.
    pub rows: f64,
    /// On one core, at a speed that is assumed.
    pub seconds: f64,
    /// Whether the plan says nothing of the rows.
    pub rows_are_assumed: bool,
}

impl NoiseToSignal {
    pub(crate) fn of(plan: &Plan, noise_norm: f64, signal_norm_max: f64) -> Self {
        let ratio = noise_norm / signal_norm_max;
        let ratio_of_run = match plan.server {
            ServerOptimizer::FedAvg { momentum, .. } => Some(ratio * gathered(momentum, plan.rounds as f64)),
            ServerOptimizer::FedAdam { .. } => None,
        };
        Self { noise_norm, signal_norm_max, ratio, ratio_of_run }
    }
}

/// What independent noise of norm 1 in each of these rounds has added up to, over what steps of norm 1 in one direction have: the last
/// round's counts once in the model, and the one `k` before it `(1 - momentum^(k+1)) / (1 - momentum)` times.
fn gathered(momentum: f64, rounds: f64) -> f64 {
    let decayed = momentum.powf(rounds);
    let once = momentum * (1.0 - decayed) / (1.0 - momentum);
    let twice = momentum.powi(2) * (1.0 - decayed.powi(2)) / (1.0 - momentum.powi(2));
    // By Cauchy and Schwarz never below what equal counts give, where digits are lost.
    ((rounds - 2.0 * once + twice).max(0.0).sqrt() / (rounds - once)).clamp(rounds.sqrt().recip(), 1.0)
}

pub(crate) fn server_step(plan: &Plan) -> Option<ServerStep> {
    let ServerOptimizer::FedAvg { learning_rate, momentum } = plan.server else { return None };
    let promise = plan.privacy.promise()?;
    let step = match promise.scheme {
        Scheme::SiloDpSgd { local_steps, .. } => {
            promise.clip_norm * f64::from(local_steps) * plan.training.learning_rate
        }
        Scheme::DistributedDpSgd { .. }
        | Scheme::DistributedDpFedavg { .. }
        | Scheme::CentralDpFedavg { .. } => promise.clip_norm,
    };
    Some(ServerStep {
        norm: learning_rate * step / (1.0 - momentum),
        learning_rate,
        step,
        momentum,
        follows_the_clip_norm: plan.adaptive_clipping().is_some(),
    })
}

pub(crate) fn training_time(plan: &Plan) -> TrainingTime {
    let local = plan.training.local_epochs as f64;
    let (rows, rows_are_assumed) = match &plan.privacy {
        Privacy::Exact(exact) => match exact.weights {
            Weights::Rows { rows_max } => (rows_max as f64 * local, false),
            Weights::Uniform => (ROWS_ASSUMED * local, true),
        },
        Privacy::Private(promise) => match promise.scheme {
            Scheme::DistributedDpSgd { sampling, .. } => {
                (sampling.divisor / plan.cohort.maximum as f64, false)
            }
            Scheme::SiloDpSgd { sampling, local_steps, .. } => {
                (sampling.divisor * f64::from(local_steps), false)
            }
            Scheme::DistributedDpFedavg { .. } | Scheme::CentralDpFedavg { .. } => {
                (ROWS_ASSUMED * local, true)
            }
        },
    };
    let seconds = rows * PASSES * products(&plan.architecture()) / PRODUCTS_PER_SECOND;
    TrainingTime { rows, seconds, rows_are_assumed }
}

impl TrainingTime {
    /// Where a silo is not waited for as long as it trains.
    pub(crate) fn warning(&self, plan: &Plan) -> Option<String> {
        let (field, most_ms, then) = match plan.timing.ready_after_ms {
            0 => (
                "minimum_wait_ms",
                plan.timing.minimum_wait_ms,
                "rounds go on without a silo that takes longer",
            ),
            ready_after_ms => {
                ("ready_after_ms", ready_after_ms, "a silo that takes longer contributes nothing")
            }
        };
        (1e3 * self.seconds > most_ms as f64).then(|| {
            format!(
                "a silo trains about {:.1} s a round ({}), and timing.{field} is {most_ms}: {then}; raise it, or measure a silo's \
                 time in its log first",
                self.seconds,
                self.rows_said()
            )
        })
    }

    pub(crate) fn rows_said(&self) -> String {
        let assumed = if self.rows_are_assumed { ", with 10000 rows a silo" } else { "" };
        format!("{:.0} rows on one core{assumed}", self.rows)
    }
}

/// Multiplications of one example's forward pass.
fn products(architecture: &Architecture) -> f64 {
    let of_stage = |stage: params::Stage<'_>| {
        // How often each weight is used.
        let places = match (stage.layer, stage.input, stage.output) {
            (Layer::Conv2d { .. }, _, Shape::Image { height, width, .. }) => height as f64 * width as f64,
            (
                Layer::Linear { .. } | Layer::Rnn { .. } | Layer::Gru { .. },
                Shape::Positions { length, .. },
                _,
            ) => length as f64,
            (Layer::Embedding { .. }, ..) => 0.0,
            _ => 1.0,
        };
        stage.parameters() as f64 * places
    };
    architecture.stages().map(of_stage).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> Plan {
        Plan::from_toml(include_str!("../../../../deploy/config/plan.toml")).unwrap()
    }

    /// The same by steps of the server's optimiser: noise alternates over coordinates of its own, one a round.
    fn by_steps(momentum: f64, rounds: usize) -> f64 {
        let server = ServerOptimizer::FedAvg { learning_rate: 1.0, momentum };
        let architecture = Architecture::perceptron(rounds, &[], params::Activation::Relu, 1);
        let mut params = params::Params::zeros(architecture.layout());
        let mut state = server.initial_state(rounds + 1);
        for round in 0..rounds {
            // A coordinate of its own is independent of all others; the last one is moved by each.
            let mut update = vec![0.0; rounds + 1];
            (update[round], update[rounds]) = (1.0, 1.0);
            (params, state) = optim::step(&server, state, &params, &update).unwrap();
        }
        let (noise, way) = params.values().split_at(rounds);
        noise.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt() / f64::from(way[0])
    }

    #[test]
    fn noise_adds_up_as_the_servers_steps_add_it_up() {
        for (momentum, rounds) in [(0.0, 1), (0.0, 30), (0.8, 1), (0.8, 2), (0.8, 30), (0.99, 10)] {
            let (found, expected) = (gathered(momentum, rounds as f64), by_steps(momentum, rounds));
            assert!((found / expected - 1.0).abs() < 1e-5, "{momentum} {rounds}: {found} {expected}");
        }
        assert!((gathered(0.0, 100.0) - 0.1).abs() < 1e-12, "by the root of the rounds");
    }

    #[test]
    fn the_servers_step_is_its_rate_times_the_clip_norm_over_what_momentum_leaves() {
        let mut plan = plan();
        let step = server_step(&plan).unwrap();
        assert!((step.norm - 7.0 * 0.5 / (1.0 - 0.8)).abs() < 1e-9, "{step:?}");
        assert!(!step.follows_the_clip_norm);
        plan.server = ServerOptimizer::FedAdam { learning_rate: 1.0, beta1: 0.9, beta2: 0.99, tau: 1e-3 };
        assert_eq!(server_step(&plan), None);
        assert_eq!(NoiseToSignal::of(&plan, 1.0, 2.0).ratio_of_run, None);
    }

    #[test]
    fn a_convolutions_and_a_sequences_weights_count_at_every_place() {
        let conv = Layer::Conv2d { channels: 2, kernel: 3, stride: 1, padding: 1 };
        let linear = |width| Layer::Linear { width, tied_to: None };
        let image = Architecture {
            input: Shape::Image { channels: 1, height: 4, width: 5 },
            layers: vec![conv, Layer::Flatten {}, linear(3)],
        };
        assert_eq!(products(&image), (20 * (2 * 9 + 2) + 40 * 3 + 3) as f64);
        let text = Architecture {
            input: Shape::Tokens { length: 7, vocabulary: 100 },
            layers: vec![Layer::Embedding { width: 4 }, Layer::Rnn { width: 5 }, linear(2)],
        };
        assert_eq!(products(&text), (7 * (9 * 5 + 5) + 5 * 2 + 2) as f64);
    }

    #[test]
    fn a_wait_that_is_shorter_than_the_training_is_pointed_out_by_the_field_that_is_too_small() {
        let mut plan = plan();
        assert_eq!(training_time(&plan).warning(&plan), None);
        let rows = training_time(&plan).rows;
        assert!((rows - 300.0).abs() < 1e-9, "the divisor over five silos: {rows}");
        plan.model.hidden = vec![20_000];
        let time = training_time(&plan);
        let said = |plan: &Plan| training_time(plan).warning(plan).unwrap_or_default();
        (plan.timing.ready_after_ms, plan.timing.minimum_wait_ms) = (0, (1e3 * time.seconds) as u64 - 1);
        assert!(
            said(&plan).contains("timing.minimum_wait_ms") && said(&plan).contains("go on without"),
            "{}",
            said(&plan)
        );
        plan.timing.minimum_wait_ms += 2;
        assert_eq!(said(&plan), "");
        plan.timing.ready_after_ms = 1;
        assert!(
            said(&plan).contains("timing.ready_after_ms is 1: a silo that takes longer contributes nothing")
        );
    }
}
