//! The demonstration's plans, one for each privacy mode.

use ::plan::{
    AdaptiveClipping, Cohort, Exact, LocalOptimizer, Model, Plan, Privacy, PrivacyMode, Promise, Sampling,
    Scheme, Timing, Training, Weights,
};
use accounting::CalibrationError;
use datasets::digits;
use optim::ServerOptimizer;
use params::Activation;
use secagg::EXCESS_COHORT_MAX;

/// The delta at which every epsilon of the demonstration counts: below one over the number of records.
pub const DELTA: f64 = 1e-5;
/// Honest silos that the noise is calibrated to.
pub const HONEST_MIN: usize = 2;

/// The demonstration's federation.
pub(crate) const FEDERATION: &str = "demonstration";

const ROWS_MAX: u64 = 1024;
const LOCAL_STEPS: u32 = 5;
const NOISY_SCALE_BITS_MAX: u32 = 20;
const EXACT_FRACTION_BITS_MAX: u32 = 24;

/// Options that no plan of the demonstration can have, by the names that the command line gives them.
#[derive(Debug, thiserror::Error)]
pub enum DemoPlanError {
    /// A budget for a mode that spends none.
    #[error(
        "--epsilon means nothing with --privacy none: exact sums carry no differential privacy; leave one of the two out"
    )]
    EpsilonWithoutNoise,
    /// A budget that no noise keeps.
    #[error("--epsilon {epsilon}: {why}")]
    Epsilon {
        epsilon: f64,
        /// What the calibration says of it.
        #[source]
        why: CalibrationError,
    },
    /// Whatever the scale of the integers is.
    #[error("these options make no usable plan:\n{problems}")]
    Unusable {
        /// Of the plan at the coarsest scale, one a line.
        problems: String,
    },
    /// A clip norm that is to move where there is none to share.
    #[error(
        "--adaptive-clip means nothing with --privacy {mode}: no clip norm is shared there; leave one of the two out"
    )]
    NoSharedClip {
        /// Such a mode.
        mode: PrivacyMode,
    },
    /// Whatever the scale of the integers is.
    #[error("with --adaptive-clip these options make no usable plan")]
    UnusableAdaptive,
}

/// The demonstration's plan for so many silos: handwritten digits, dealt to them in equal shares.
///
/// `rounds` and `epsilon` are the mode's own where they are not given; the noise is calibrated to both.
///
/// # Errors
/// For an epsilon that no noise reaches, or one where there is no noise.
pub fn demo_plan(
    mode: PrivacyMode,
    clients: usize,
    rounds: Option<u64>,
    epsilon: Option<f64>,
) -> Result<Plan, DemoPlanError> {
    let (bits_max, plan): (u32, Box<dyn Fn(u32) -> Plan>) = match mode {
        PrivacyMode::DistributedDpSgd => {
            let (rounds, epsilon) = (rounds.unwrap_or(30), epsilon.unwrap_or(4.9));
            let noise = noise(epsilon, rounds)?;
            (NOISY_SCALE_BITS_MAX, Box::new(move |bits| dp_sgd(clients, rounds, epsilon, noise, bits)))
        }
        PrivacyMode::SiloDpSgd => {
            let (rounds, epsilon) = (rounds.unwrap_or(20), epsilon.unwrap_or(8.0));
            let noise = noise(epsilon, rounds * u64::from(LOCAL_STEPS))?;
            (
                EXACT_FRACTION_BITS_MAX,
                Box::new(move |bits| silo_dp_sgd(clients, rounds, epsilon, noise, bits)),
            )
        }
        PrivacyMode::DistributedDpFedavg => {
            let (rounds, epsilon) = (rounds.unwrap_or(20), epsilon.unwrap_or(50.0));
            let noise = noise(epsilon, rounds)?;
            (NOISY_SCALE_BITS_MAX, Box::new(move |bits| dp_fedavg(clients, rounds, epsilon, noise, bits)))
        }
        PrivacyMode::CentralDpFedavg => {
            let (rounds, epsilon) = (rounds.unwrap_or(20), epsilon.unwrap_or(50.0));
            let noise = noise(epsilon, rounds)?;
            (
                NOISY_SCALE_BITS_MAX,
                Box::new(move |bits| central_dp_fedavg(clients, rounds, epsilon, noise, bits)),
            )
        }
        PrivacyMode::Fedavg => {
            if epsilon.is_some() {
                return Err(DemoPlanError::EpsilonWithoutNoise);
            }
            let rounds = rounds.unwrap_or(40);
            (EXACT_FRACTION_BITS_MAX, Box::new(move |bits| fedavg(clients, rounds, bits)))
        }
    };
    // The finest scale at which no sum can wrap.
    let mut problems = String::new();
    for bits in (0..=bits_max).rev() {
        let plan = plan(bits);
        match plan.validate() {
            Ok(()) => return Ok(plan),
            Err(why) => problems = why.to_string(),
        }
    }
    Err(DemoPlanError::Unusable { problems })
}

/// The same plan with a clip norm that follows the median.
///
/// # Errors
/// For a mode that has no such clip norm.
pub fn adaptive(plan: Plan) -> Result<Plan, DemoPlanError> {
    let not_shared = DemoPlanError::NoSharedClip { mode: plan.mode() };
    let mut promise = plan.privacy.promise().cloned();
    let Some(clip) = promise.as_mut().and_then(Promise::adaptive_clip_mut) else { return Err(not_shared) };
    *clip = Some(AdaptiveClipping { target_quantile: 0.5, learning_rate: 0.2, share: 0.02 });
    let Some(promise) = promise else { return Err(not_shared) };
    // Contributions are divided by the clip norm, which is the unit now: a bit or two less may be needed.
    let with_bits = |scale_bits| Plan {
        privacy: Privacy::Private(Promise { scale_bits, ..promise.clone() }),
        ..plan.clone()
    };
    let usable = (0..=promise.scale_bits).rev().map(with_bits).find(|plan| plan.validate().is_ok());
    usable.ok_or(DemoPlanError::UnusableAdaptive)
}

fn noise(epsilon: f64, rounds: u64) -> Result<f64, DemoPlanError> {
    // Every record is in every batch, so no amplification by sampling is claimed.
    accounting::calibrate(epsilon, DELTA, 1.0, rounds)
        .map(accounting::NoiseMultiplier::value)
        .map_err(|why| DemoPlanError::Epsilon { epsilon, why })
}

fn dp_sgd(clients: usize, rounds: u64, epsilon: f64, noise_multiplier: f64, scale_bits: u32) -> Plan {
    let privacy = Privacy::Private(Promise {
        epsilon,
        delta: DELTA,
        noise_multiplier,
        clip_norm: 0.5,
        scale_bits,
        scheme: Scheme::DistributedDpSgd {
            sampling: Sampling {
                unit: plan::Sampled::Record,
                rate: 1.0,
                divisor: 1437.0,
                rows_max: ROWS_MAX,
            },
            remove_excess_noise: clients <= EXCESS_COHORT_MAX,
            adaptive_clip: None,
        },
    });
    let server = ServerOptimizer::FedAvg { learning_rate: 7.0, momentum: 0.8 };
    // One step a round: of the training section only `micro_batch` counts.
    plan(clients, rounds, Vec::new(), [-0.3, 0.7], training(1, LocalOptimizer::Sgd, 0.5), server, privacy)
}

fn silo_dp_sgd(clients: usize, rounds: u64, epsilon: f64, noise_multiplier: f64, fraction_bits: u32) -> Plan {
    let privacy = Privacy::Private(Promise {
        epsilon,
        delta: DELTA,
        noise_multiplier,
        clip_norm: 0.5,
        scale_bits: 16,
        scheme: Scheme::SiloDpSgd {
            sampling: Sampling {
                unit: plan::Sampled::Record,
                rate: 1.0,
                divisor: 1437.0 / clients as f64,
                rows_max: ROWS_MAX,
            },
            local_steps: LOCAL_STEPS,
            coordinate_max: 4.0,
            fraction_bits,
        },
    });
    let server = ServerOptimizer::FedAvg { learning_rate: 1.0, momentum: 0.0 };
    plan(clients, rounds, Vec::new(), [-0.3, 0.7], training(1, LocalOptimizer::Sgd, 4.0), server, privacy)
}

fn dp_fedavg(clients: usize, rounds: u64, epsilon: f64, noise_multiplier: f64, scale_bits: u32) -> Plan {
    let privacy = Privacy::Private(Promise {
        epsilon,
        delta: DELTA,
        noise_multiplier,
        clip_norm: 1.0,
        scale_bits,
        scheme: Scheme::DistributedDpFedavg {
            remove_excess_noise: clients <= EXCESS_COHORT_MAX,
            adaptive_clip: None,
        },
    });
    let server = ServerOptimizer::FedAvg { learning_rate: 1.0, momentum: 0.0 };
    plan(clients, rounds, Vec::new(), [-0.3, 0.7], training(5, LocalOptimizer::Sgd, 0.5), server, privacy)
}

fn central_dp_fedavg(
    clients: usize,
    rounds: u64,
    epsilon: f64,
    noise_multiplier: f64,
    scale_bits: u32,
) -> Plan {
    let mut plan = dp_fedavg(clients, rounds, epsilon, noise_multiplier, scale_bits);
    plan.privacy = Privacy::Private(Promise {
        epsilon,
        delta: DELTA,
        noise_multiplier,
        clip_norm: 1.0,
        scale_bits,
        scheme: Scheme::CentralDpFedavg { adaptive_clip: None },
    });
    plan
}

fn fedavg(clients: usize, rounds: u64, fraction_bits: u32) -> Plan {
    let privacy = Privacy::Exact(Exact {
        coordinate_max: 4.0,
        fraction_bits,
        weights: Weights::Rows { rows_max: ROWS_MAX },
        evaluate: true,
        loss_max: 10.0,
    });
    let server = ServerOptimizer::FedAvg { learning_rate: 1.0, momentum: 0.0 };
    plan(clients, rounds, vec![64], [0.0, 1.0], training(5, LocalOptimizer::Adam, 0.002), server, privacy)
}

fn training(local_epochs: u32, optimizer: LocalOptimizer, learning_rate: f64) -> Training {
    Training { local_epochs, batch_size: 32, optimizer, learning_rate, micro_batch: 256 }
}

fn plan(
    clients: usize,
    rounds: u64,
    hidden: Vec<usize>,
    scaled_to: [f64; 2],
    training: Training,
    server: ServerOptimizer,
    privacy: Privacy,
) -> Plan {
    Plan {
        format: Some(Plan::NUMBERED),
        id: None,
        federation: Some(FEDERATION.into()),
        parent: None,
        name: "handwritten digits".into(),
        rounds,
        model: Model { hidden, activation: Activation::Relu, initial_seed: 1, network: None },
        data: digits::data_section(scaled_to),
        training,
        server,
        privacy,
        // One silo may be lost, where three are left.
        cohort: Cohort { minimum: clients.max(4) - 1, maximum: clients, corrupt: 1, honest_min: HONEST_MIN },
        timing: Timing {
            round_deadline_ms: 20_000,
            minimum_wait_ms: 500,
            ready_after_ms: 0,
            attempts_max: 3,
            patience_days: None,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODES: [PrivacyMode; 5] = [
        PrivacyMode::DistributedDpSgd,
        PrivacyMode::Fedavg,
        PrivacyMode::DistributedDpFedavg,
        PrivacyMode::SiloDpSgd,
        PrivacyMode::CentralDpFedavg,
    ];

    #[test]
    fn every_mode_has_a_plan_for_three_to_twelve_silos() {
        for mode in MODES {
            for clients in 3..=12 {
                let plan = demo_plan(mode, clients, None, None).unwrap();
                assert_eq!(plan.mode(), mode);
                let again = Plan::from_toml(&plan.to_toml()).unwrap();
                assert_eq!(again, plan, "{mode:?} with {clients} silos does not survive its text");
            }
        }
    }

    #[test]
    fn the_released_demonstration_stays_below_epsilon_five_at_its_delta() {
        let plan = demo_plan(PrivacyMode::DistributedDpSgd, 5, None, None).unwrap();
        assert_eq!(plan.budget(), Some((4.9, 1e-5)));
        assert_eq!(plan.rounds, 30);
        let noise_multiplier = plan.privacy.promise().unwrap().noise_multiplier;
        assert!((noise_multiplier - 5.324).abs() < 0.01, "{noise_multiplier}");
    }

    #[test]
    fn no_mode_that_promises_privacy_sends_a_lane_of_data_without_noise() {
        for mode in MODES {
            let plan = demo_plan(mode, 5, None, None).unwrap();
            let beside = plan.lanes() - plan.architecture().parameter_count();
            match plan.mode() {
                PrivacyMode::Fedavg => assert_eq!((plan.budget(), beside), (None, 3)),
                _ => assert_eq!((plan.metric_lanes(), beside), (0, 0)),
            }
            assert_eq!([plan.event().is_some(), plan.budget().is_some()], [plan.promises(); 2]);
        }
    }

    #[test]
    fn the_clip_norm_moves_where_one_is_shared_and_at_the_same_cost() {
        for mode in MODES {
            let plan = demo_plan(mode, 5, None, None).unwrap();
            let moving = adaptive(plan.clone());
            if matches!(mode, PrivacyMode::Fedavg | PrivacyMode::SiloDpSgd) {
                assert!(matches!(moving.unwrap_err(), DemoPlanError::NoSharedClip { .. }), "{mode:?}");
                continue;
            }
            let moving = moving.unwrap();
            assert_eq!(moving.lanes(), plan.lanes() + 1);
            assert_eq!((moving.event(), moving.budget()), (plan.event(), plan.budget()));
            assert_eq!(Plan::from_toml(&moving.to_toml()).unwrap(), moving);
        }
    }

    #[test]
    fn other_rounds_or_another_epsilon_change_the_noise() {
        let noise = |rounds, epsilon| {
            let plan = demo_plan(PrivacyMode::DistributedDpSgd, 5, rounds, epsilon).unwrap();
            plan.privacy.promise().unwrap().noise_multiplier
        };
        assert!(noise(Some(60), None) > noise(None, None));
        assert!(noise(None, Some(2.0)) > noise(None, None));
    }

    #[test]
    fn one_bit_more_could_wrap_or_is_the_most_that_is_tried() {
        let plan = demo_plan(PrivacyMode::Fedavg, 5, None, None).unwrap();
        let Privacy::Exact(Exact { fraction_bits, .. }) = plan.privacy else { panic!() };
        assert!(
            fraction_bits == EXACT_FRACTION_BITS_MAX || fedavg(5, 40, fraction_bits + 1).validate().is_err()
        );
        assert!(fraction_bits >= 16, "{fraction_bits} bits are too coarse to train");
    }

    #[test]
    fn options_that_mean_nothing_are_usage_errors() {
        let none = demo_plan(PrivacyMode::Fedavg, 5, None, Some(1.0)).unwrap_err();
        assert!(matches!(none, DemoPlanError::EpsilonWithoutNoise));
        let unreachable = demo_plan(PrivacyMode::DistributedDpSgd, 5, None, Some(0.001)).unwrap_err();
        assert!(unreachable.to_string().contains("--epsilon 0.001"), "{unreachable}");
    }
}
