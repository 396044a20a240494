//! Server optimisers: how the aggregate of a round changes the global model, as pure steps.
//!
//! Owns: [`ServerOptimizer`] (what the plan asks for), [`State`] (moments between rounds, with canonical
//! bytes for checkpoints) and [`step`].
//!
//! Does not: average, weight or denoise updates, choose a schedule, or store its state.
//!
//! An aggregate is a *difference*: the mean of the clients' updates, which points downhill already. It is
//! added, and stands for the negative gradient of the textbooks ("pseudo-gradient").
//!
//! ```text
//! (Params t, State t) --step(aggregate f32[d])--> (Params t+1, State t+1)
//! ```
//!
//! # Example
//!
//! ```
//! use optim::ServerOptimizer;
//! use params::{Activation, Architecture, Params};
//!
//! let architecture = Architecture::perceptron(1, &[], Activation::Relu, 1);
//! let params = Params::zeros(architecture.layout());
//! let config = ServerOptimizer::FedAvg { learning_rate: 0.5, momentum: 0.0 };
//! let (next, state) = optim::step(&config, config.initial_state(2), &params, &[2.0, 4.0])?;
//! assert_eq!(next.values(), [1.0, 2.0]);
//! assert_eq!(state.steps(), 1);
//! # Ok::<(), optim::OptimError>(())
//! ```
//!
//! # Papers
//!
//! Reddi et al. 2021, *Adaptive Federated Optimization*, Algorithms 1 and 2; Hsu et al. 2019, *Measuring the
//! Effects of Non-Identical Data Distribution* (server momentum).

#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

mod state;

use params::Params;
use serde::{Deserialize, Serialize};
use state::Moments;

pub use state::{State, StateError};

/// Which server optimiser a run uses.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum ServerOptimizer {
    /// Averaging with a server learning rate and, when not zero, momentum.
    ///
    /// `m = momentum m + aggregate`, `x = x + learning_rate m`. Rate 1 without momentum is plain FedAvg.
    FedAvg {
        /// Server learning rate.
        learning_rate: f64,
        /// In [0, 1).
        momentum: f64,
    },
    /// Adam on the server.
    ///
    /// `m = beta1 m + (1 - beta1) aggregate`, `v = beta2 v + (1 - beta2) aggregate^2`,
    /// `x = x + learning_rate m / (sqrt(v) + tau)`.
    ///
    /// # Paper
    ///
    /// Reddi et al. 2021, Algorithm 2 (FedAdam) as in its last version, where `v` is fed by the aggregate and
    /// not by `m`; `m = 0` and `v = tau^2` before the first round; no bias correction.
    FedAdam {
        /// Server learning rate.
        learning_rate: f64,
        /// Decay of the first moment, in [0, 1).
        beta1: f64,
        /// Decay of the second moment, in [0, 1).
        beta2: f64,
        /// Degree of adaptivity: the larger, the closer to FedAvg.
        tau: f64,
    },
}

/// A step or a configuration that is refused.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum OptimError {
    /// A hyperparameter out of its range.
    #[error("`{field}` is {value}, and must be {range}")]
    Hyperparameter {
        /// Its name in the plan.
        field: &'static str,
        value: f64,
        /// What it must be.
        range: &'static str,
    },
    /// The aggregate or the state is for a model of another size.
    #[error("the {what} has {actual} lanes, and the model {expected}")]
    Length {
        what: &'static str,
        /// Lanes of the model.
        expected: usize,
        /// Lanes of the input.
        actual: usize,
    },
    /// The state was made by another optimiser.
    #[error("the optimiser state belongs to another server optimiser")]
    OtherOptimizer,
    /// An infinite or undefined aggregate.
    #[error("the aggregate is not finite at lane {lane}")]
    AggregateNotFinite {
        /// The first such lane.
        lane: usize,
    },
    /// The step leaves the range of `f32`.
    #[error("the step is not finite at lane {lane}: lower the server learning rate")]
    StepNotFinite {
        /// The first such lane.
        lane: usize,
    },
}

impl ServerOptimizer {
    /// Checks every hyperparameter.
    ///
    /// # Errors
    ///
    /// The first one out of its range.
    pub fn validate(&self) -> Result<(), OptimError> {
        match *self {
            ServerOptimizer::FedAvg { learning_rate, momentum } => {
                positive("learning_rate", learning_rate)?;
                decay("momentum", momentum)
            }
            ServerOptimizer::FedAdam { learning_rate, beta1, beta2, tau } => {
                positive("learning_rate", learning_rate)?;
                decay("beta1", beta1)?;
                decay("beta2", beta2)?;
                positive("tau", tau)?;
                // `v` starts at tau^2 in f32: as zero or infinity it would not be Algorithm 2 any more.
                match (tau * tau) as f32 {
                    square if square.is_normal() => Ok(()),
                    _ => Err(hyperparameter("tau", tau, "from 1e-18 to 1e18")),
                }
            }
        }
    }

    /// State before the first round of a model of `lanes` parameters.
    pub fn initial_state(&self, lanes: usize) -> State {
        let moments = match *self {
            ServerOptimizer::FedAvg { momentum: 0.0, .. } => Moments::None,
            ServerOptimizer::FedAvg { .. } => Moments::First(vec![0.0; lanes]),
            ServerOptimizer::FedAdam { tau, .. } => {
                Moments::Both { first: vec![0.0; lanes], second: vec![(tau * tau) as f32; lanes] }
            }
        };
        State { steps: 0, moments, clip_norm: None }
    }
}

/// One server step: adds the aggregate update to the model as the optimiser says.
///
/// Each lane is computed in `f64` and rounded once per stored value, so equal inputs give equal bits on
/// every machine.
///
/// # Shapes
///
/// `aggregate` has one lane per parameter; it is the mean of the updates, not their sum.
///
/// # Errors
///
/// Hyperparameters out of range, lengths or a state that do not match, an aggregate or a result that is not
/// finite. On error nothing is changed, but the state is consumed: keep the bytes of the last checkpoint.
///
/// # Paper
///
/// Reddi et al. 2021, Algorithm 2, the lines after the clients' loop.
pub fn step(
    config: &ServerOptimizer,
    state: State,
    params: &Params,
    aggregate: &[f32],
) -> Result<(Params, State), OptimError> {
    config.validate()?;
    let lanes = params.values().len();
    check_length("aggregate", lanes, aggregate.len())?;
    if let Some(lane) = aggregate.iter().position(|lane| !lane.is_finite()) {
        return Err(OptimError::AggregateNotFinite { lane });
    }

    let State { steps, mut moments, clip_norm } = state;
    let values = params.values().iter().zip(aggregate);
    let stepped: Vec<f32> = match (config, &mut moments) {
        (&ServerOptimizer::FedAvg { learning_rate, momentum: 0.0 }, Moments::None) => {
            values.map(|(&x, &delta)| (f64::from(x) + learning_rate * f64::from(delta)) as f32).collect()
        }
        (&ServerOptimizer::FedAvg { learning_rate, momentum }, Moments::First(first)) if momentum != 0.0 => {
            check_length("optimiser state", lanes, first.len())?;
            let lanes = values.zip(first);
            lanes
                .map(|((&x, &delta), m)| {
                    *m = (momentum * f64::from(*m) + f64::from(delta)) as f32;
                    (f64::from(x) + learning_rate * f64::from(*m)) as f32
                })
                .collect()
        }
        (&ServerOptimizer::FedAdam { learning_rate, beta1, beta2, tau }, Moments::Both { first, second }) => {
            check_length("optimiser state", lanes, first.len())?;
            let lanes = values.zip(first.iter_mut().zip(second));
            lanes
                .map(|((&x, &delta), (m, v))| {
                    let delta = f64::from(delta);
                    *m = (beta1 * f64::from(*m) + (1.0 - beta1) * delta) as f32;
                    *v = (beta2 * f64::from(*v) + (1.0 - beta2) * delta * delta) as f32;
                    (f64::from(x) + learning_rate * f64::from(*m) / (f64::from(*v).sqrt() + tau)) as f32
                })
                .collect()
        }
        // Never taken for a fresh start: moments that were lost would change the model unnoticed.
        _ => return Err(OptimError::OtherOptimizer),
    };

    if let Some(lane) = stepped.iter().position(|lane| !lane.is_finite()).or(moments.not_finite()) {
        return Err(OptimError::StepNotFinite { lane });
    }
    let length = OptimError::Length { what: "stepped model", expected: lanes, actual: stepped.len() };
    let params = Params::new(params.layout().clone(), stepped).map_err(|_| length)?;
    Ok((params, State { steps: steps.saturating_add(1), moments, clip_norm }))
}

fn check_length(what: &'static str, expected: usize, actual: usize) -> Result<(), OptimError> {
    if expected == actual { Ok(()) } else { Err(OptimError::Length { what, expected, actual }) }
}

fn positive(field: &'static str, value: f64) -> Result<(), OptimError> {
    let ok = value.is_finite() && value > 0.0;
    if ok { Ok(()) } else { Err(hyperparameter(field, value, "finite and above 0")) }
}

fn decay(field: &'static str, value: f64) -> Result<(), OptimError> {
    let ok = (0.0..1.0).contains(&value);
    if ok { Ok(()) } else { Err(hyperparameter(field, value, "at least 0 and below 1")) }
}

fn hyperparameter(field: &'static str, value: f64, range: &'static str) -> OptimError {
    OptimError::Hyperparameter { field, value, range }
}

#[cfg(test)]
mod tests {
    use params::{Layout, LayoutEntry};
    use proptest::prelude::*;

    use super::*;

    const ADAM: ServerOptimizer =
        ServerOptimizer::FedAdam { learning_rate: 0.5, beta1: 0.75, beta2: 0.5, tau: 0.5 };

    fn fedavg(learning_rate: f64, momentum: f64) -> ServerOptimizer {
        ServerOptimizer::FedAvg { learning_rate, momentum }
    }

    fn params(values: &[f32]) -> Params {
        let layout = Layout::new(vec![LayoutEntry { name: "w".into(), shape: vec![values.len()] }]).unwrap();
        Params::new(layout, values.to_vec()).unwrap()
    }

    fn run(config: ServerOptimizer, start: &[f32], aggregates: &[&[f32]]) -> (Params, State) {
        let start = (params(start), config.initial_state(start.len()));
        aggregates
            .iter()
            .fold(start, |(params, state), aggregate| step(&config, state, &params, aggregate).unwrap())
    }

    #[test]
    fn fedavg_at_rate_one_adds_the_aggregate() {
        let (next, state) = run(fedavg(1.0, 0.0), &[2.0, -3.0], &[&[5.0, 7.0], &[0.5, -1.0]]);
        assert_eq!(next.values(), [7.5, 3.0]);
        assert_eq!(state.steps(), 2);
    }

    #[test]
    fn momentum_accumulates_past_aggregates() {
        // m: 4, 0.5*4+2 = 4, 0.5*4-8 = -6; x: 1+0.25*4 = 2, 3, 3-1.5 = 1.5.
        let (next, _) = run(fedavg(0.25, 0.5), &[1.0], &[&[4.0], &[2.0], &[-8.0]]);
        assert_eq!(next.values(), [1.5]);
    }

    #[test]
    fn fedadam_is_algorithm_2_by_hand_for_two_rounds() {
        // v starts at tau^2 = 0.25. Round 1, aggregate 2: m = 0.25*2 = 0.5; v = 0.5*0.25 + 0.5*4 = 2.125.
        // Round 2, aggregate -1: m = 0.75*0.5 - 0.25 = 0.125; v = 0.5*2.125 + 0.5 = 1.5625, whose root is
        // 1.25: the second step is 0.5 * 0.125 / 1.75.
        let first_step = 0.5 * 0.5 / (2.125f64.sqrt() + 0.5);
        let (one, _) = run(ADAM, &[3.0], &[&[2.0]]);
        assert_eq!(one.values(), [(3.0 + first_step) as f32]);
        let (two, _) = run(ADAM, &[3.0], &[&[2.0], &[-1.0]]);
        assert_eq!(two.values(), [(f64::from(one.values()[0]) + 0.0625 / 1.75) as f32]);
    }

    #[test]
    fn fedadam_moves_each_lane_by_its_own_history() {
        let (both, _) = run(ADAM, &[3.0, 4.0], &[&[2.0, 100.0], &[-1.0, 7.0]]);
        let (alone, _) = run(ADAM, &[3.0], &[&[2.0], &[-1.0]]);
        assert_eq!(both.values()[0], alone.values()[0]);
    }

    #[test]
    fn a_non_finite_aggregate_is_refused_and_its_lane_named() {
        for bad in [f32::NAN, f32::INFINITY] {
            let result = step(&ADAM, ADAM.initial_state(2), &params(&[0.0, 0.0]), &[1.0, bad]);
            assert_eq!(result, Err(OptimError::AggregateNotFinite { lane: 1 }));
        }
    }

    #[test]
    fn a_step_or_a_moment_out_of_range_is_refused() {
        let config = fedavg(1.0, 0.0);
        let result = step(&config, config.initial_state(1), &params(&[f32::MAX]), &[f32::MAX]);
        assert_eq!(result, Err(OptimError::StepNotFinite { lane: 0 }));
        // The square of this aggregate is not an f32, though the step itself would be 0.
        let result = step(&ADAM, ADAM.initial_state(2), &params(&[0.0, 0.0]), &[1.0, 1e30]);
        assert_eq!(result, Err(OptimError::StepNotFinite { lane: 1 }));
    }

    #[test]
    fn state_of_another_optimiser_or_size_is_refused() {
        let adam = |lanes| ADAM.initial_state(lanes);
        let one = params(&[0.0]);
        assert_eq!(step(&fedavg(1.0, 0.5), adam(1), &one, &[1.0]), Err(OptimError::OtherOptimizer));
        assert_eq!(step(&fedavg(1.0, 0.0), adam(1), &one, &[1.0]), Err(OptimError::OtherOptimizer));
        let plain = fedavg(1.0, 0.0).initial_state(1);
        assert_eq!(step(&fedavg(1.0, 0.5), plain, &one, &[1.0]), Err(OptimError::OtherOptimizer));
        assert!(matches!(step(&ADAM, adam(2), &one, &[1.0]), Err(OptimError::Length { .. })));
        assert!(matches!(step(&ADAM, adam(1), &one, &[1.0, 2.0]), Err(OptimError::Length { .. })));
    }

    #[test]
    fn hyperparameters_out_of_range_are_refused_by_name() {
        let named = |config: ServerOptimizer| match config.validate() {
            Err(OptimError::Hyperparameter { field, .. }) => field,
            other => panic!("{other:?}"),
        };
        assert_eq!(named(fedavg(0.0, 0.0)), "learning_rate");
        assert_eq!(named(fedavg(f64::NAN, 0.0)), "learning_rate");
        assert_eq!(named(fedavg(1.0, 1.0)), "momentum");
        let adam = |beta1, beta2, tau| ServerOptimizer::FedAdam { learning_rate: 1.0, beta1, beta2, tau };
        assert_eq!(named(adam(-0.1, 0.9, 0.1)), "beta1");
        assert_eq!(named(adam(0.9, 1.0, 0.1)), "beta2");
        assert_eq!(named(adam(0.9, 0.9, 0.0)), "tau");
        assert_eq!(named(adam(0.9, 0.9, 1e-30)), "tau");
        assert_eq!(adam(0.9, 0.99, 1e-9).validate(), Ok(()));
        assert!(step(&fedavg(0.0, 0.0), fedavg(0.0, 0.0).initial_state(1), &params(&[0.0]), &[1.0]).is_err());
    }

    #[test]
    fn configuration_is_read_by_name_and_unknown_fields_are_refused() {
        let json = r#"{"fedavg":{"learning_rate":1.0,"momentum":0.9}}"#;
        assert_eq!(serde_json::from_str::<ServerOptimizer>(json).unwrap(), fedavg(1.0, 0.9));
        assert_eq!(serde_json::to_string(&fedavg(1.0, 0.9)).unwrap(), json);
        assert!(serde_json::from_str::<ServerOptimizer>(&json.replace("0.9}", "0.9,\"tau\":1}")).is_err());
    }

    proptest! {
        #[test]
        fn a_run_resumed_from_bytes_equals_a_run_without_a_break(
            aggregates in prop::collection::vec(prop::array::uniform3(-8.0f32..8.0), 2..6),
            cut in 1usize..5,
        ) {
            for config in [fedavg(0.5, 0.0), fedavg(0.5, 0.9), ADAM] {
                let whole: Vec<&[f32]> = aggregates.iter().map(|a| &a[..]).collect();
                let (before, after) = whole.split_at(cut.min(whole.len()));
                let (params, state) = run(config, &[1.0, 2.0, 3.0], before);
                let restored = State::from_bytes(&state.to_bytes()).unwrap();
                let resumed = after.iter().fold((params, restored), |(params, state), aggregate| {
                    step(&config, state, &params, aggregate).unwrap()
                });
                prop_assert_eq!(resumed, run(config, &[1.0, 2.0, 3.0], &whole));
            }
        }
    }
}
