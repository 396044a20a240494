//! Small plans to simulate with.

use std::collections::BTreeMap;

use identity::{AuthorisedRoster, IdentityKey, Member, Roster};
use params::Digest;
use plan::{
    AdaptiveClipping, AuthoredPlan, Cohort, Data, Exact, Feature, LocalOptimizer, Model, Plan, Privacy,
    Promise, Sampling, Scheme, Timing, Training, Weights,
};
use protocol::ToClient;
use secagg::ClientId;

/// The roster of epoch 1, with everybody who has a key.
pub(crate) fn first_roster(keys: &BTreeMap<ClientId, IdentityKey>, coordinator: &IdentityKey) -> Roster {
    let text = |key: &IdentityKey| hex::encode(key.public().as_bytes());
    let member = |id: &ClientId, key: &IdentityKey| Member {
        name: format!("silo {id}"),
        identity_key: text(key),
        admitted: 1,
    };
    Roster {
        format: None,
        previous: None,
        federation: "simulated".into(),
        epoch: 1,
        coordinator_key: text(coordinator),
        members: keys.iter().map(|(id, key)| (*id, member(id, key))).collect(),
    }
}

/// Softmax regression of 3 features and 2 classes in the mode without noise: 8 parameters, 3 lanes beside them.
/// Of the newest format, with an id that is always the same.
pub fn plan(members: usize, rounds: u64) -> Plan {
    Plan {
        format: Some(Plan::NUMBERED),
        id: Some("5".repeat(2 * Plan::ID_BYTES)),
        federation: None,
        parent: None,
        name: "simulated".into(),
        rounds,
        model: Model {
            hidden: Vec::new(),
            activation: params::Activation::Relu,
            initial_seed: 7,
            network: None,
        },
        data: Data {
            label: "label".into(),
            classes: 2.into(),
            scaled_to: [0.0, 1.0],
            features: ["a", "b", "c"].map(|column| Feature::range(column, 0.0, 1.0)).into(),
            class_weights: None,
        },
        training: Training {
            local_epochs: 1,
            batch_size: 8,
            optimizer: LocalOptimizer::Sgd,
            learning_rate: 0.1,
            micro_batch: 8,
        },
        server: optim::ServerOptimizer::FedAvg { learning_rate: 1.0, momentum: 0.0 },
        privacy: Privacy::Exact(Exact {
            coordinate_max: 4.0,
            fraction_bits: 20,
            weights: Weights::Rows { rows_max: 1000 },
            evaluate: true,
            loss_max: 10.0,
        }),
        cohort: Cohort {
            // Two may drop out, where three are left: no plan may ask for fewer.
            minimum: 3.max(members.saturating_sub(2)),
            maximum: members,
            corrupt: 1,
            honest_min: 2,
        },
        timing: Timing {
            round_deadline_ms: 10_000,
            minimum_wait_ms: 1_000,
            ready_after_ms: 100,
            attempts_max: 2,
            patience_days: None,
        },
    }
}

/// The same as a release wrote it that did not number its plans.
pub fn of_first_format(plan: Plan) -> Plan {
    Plan { format: None, id: None, federation: None, parent: None, ..plan }
}

/// The same model in distributed DP-SGD, with the calibrated noise.
///
/// # Panics
/// Where no noise multiplier keeps the promise: then these constants are wrong.
pub fn private_plan(members: usize, rounds: u64, epsilon: f64) -> Plan {
    let (delta, sampling_rate) = (1e-5, 0.5);
    let multiplier = accounting::calibrate(epsilon, delta, sampling_rate, rounds)
        .unwrap_or_else(|why| panic!("the sample plan cannot be calibrated: {why}"));
    Plan {
        privacy: Privacy::Private(Promise {
            epsilon,
            delta,
            noise_multiplier: multiplier.value(),
            clip_norm: 1.0,
            scale_bits: 16,
            scheme: Scheme::DistributedDpSgd {
                sampling: Sampling {
                    unit: plan::Sampled::Record,
                    rate: sampling_rate,
                    divisor: 100.0,
                    rows_max: 256,
                },
                remove_excess_noise: false,
                adaptive_clip: None,
            },
        }),
        ..plan(members, rounds)
    }
}

/// A plan with noise that removes what a sum has too much of.
///
/// # Panics
/// Where the plan's silos do not share the noise.
pub fn removing_excess(mut plan: Plan) -> Plan {
    let shared = plan.privacy.promise_mut().and_then(Promise::remove_excess_noise_mut);
    *shared.expect("a plan whose silos share the noise") = true;
    plan
}

/// The plan with all noise added in each silo, to its own steps.
///
/// # Panics
/// Where it is not one of [`private_plan`].
pub(crate) fn noised_in_each_silo(plan: Plan) -> Plan {
    let promise = plan.privacy.promise().expect("a plan with a promise");
    let sampling = *promise.sampling().expect("a plan that samples records");
    let scheme = Scheme::SiloDpSgd { sampling, local_steps: 2, coordinate_max: 4.0, fraction_bits: 20 };
    let privacy = Privacy::Private(Promise { epsilon: 900.0, scheme, ..*promise });
    Plan { privacy, ..plan }
}

/// The plan with all noise added by the coordinator, to whole updates.
///
/// # Panics
/// Where it is not one of [`private_plan`].
pub(crate) fn noised_at_the_coordinator(plan: Plan) -> Plan {
    let promise = plan.privacy.promise().expect("a plan with a promise");
    let scheme = Scheme::CentralDpFedavg { adaptive_clip: None };
    let privacy = Privacy::Private(Promise { epsilon: 900.0, scheme, ..*promise });
    Plan { privacy, ..plan }
}

/// A plan that clips, with a clip norm that follows the median.
///
/// # Panics
/// Where the plan's mode has no such clip norm.
pub fn adaptive(mut plan: Plan) -> Plan {
    let clip = plan.privacy.promise_mut().and_then(Promise::adaptive_clip_mut);
    let following = AdaptiveClipping { target_quantile: 0.5, learning_rate: 0.2, share: 0.05 };
    *clip.expect("a plan whose clip norm can move") = Some(following);
    plan
}

/// Signs the rosters of simulated federations.
///
/// # Panics
/// Never: the key is a constant.
pub fn authority() -> IdentityKey {
    constant_key(0xa0)
}

/// Signs the plans of simulated federations.
///
/// # Panics
/// Never: the key is a constant.
pub fn author() -> IdentityKey {
    constant_key(0xa1)
}

/// The author's key as policies list it.
pub fn author_text() -> String {
    hex::encode(author().public().as_bytes())
}

/// The plan, signed by [`author`].
pub fn authored(plan: Plan) -> AuthoredPlan {
    plan.sign(&author())
}

/// The roster, signed by [`authority`].
///
/// # Panics
/// Where the roster's keys cannot be used.
pub fn authorised(roster: &Roster) -> AuthorisedRoster {
    roster
        .sign(&authority())
        .authorise(&authority().public())
        .unwrap_or_else(|why| panic!("the roster is not usable: {why}"))
}

fn constant_key(byte: u8) -> IdentityKey {
    IdentityKey::from_secret_hex(&hex::encode([byte; 32])).expect("64 hexadecimal digits")
}

/// The welcome to a run of this plan, signed by [`author`], under this roster, signed by [`authority`].
pub fn welcome(run_id: Digest, plan: &Plan, roster: &Roster) -> ToClient {
    let plan = Box::new(authored(plan.clone()).signed().clone());
    ToClient::Welcome { run_id, plan, roster: Box::new(roster.sign(&authority())), between: vec![] }
}
