//! A whole run of a plan in one process: the real training, clipping, rounding, noise, sum and server step, without
//! network, journals and masks.
//!
//! Owns: [`Rehearsal`]. Masks cancel bit for bit in every opened sum, so a rehearsed round gives the model that a real
//! one with the same silos and seeds gives; every silo takes part in every round. It protects nothing: all tables are
//! in one memory. For measuring what a plan's noise costs and what its promise is worth, on data that may be together.
//!
//! ```text
//! Plan, [Dataset] --Rehearsal::round--> Params v+1    train, Mechanism::protect, wrapping sum, next_model
//! ```
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

use chacha20::ChaCha20Rng;
use datasets::Dataset;
use optim::State;
use params::Params;
use plan::{Contribution, Mechanism, Plan};
use protocol::{next_model, origin_of};
use rand_core::{Rng, SeedableRng};
use secagg::NoiseSeeds;
use train::BurnTrainer;
use trainer::Trainer;

/// How much noise a rehearsal adds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum NoiseLevel {
    /// What the plan says.
    AsPlanned,
    /// So many times the plan's noise multiplier.
    ///
    /// # Privacy
    /// Below one the plan's promise does not hold: an audit that does not find that out is no audit.
    Times(f64),
    /// As little as the sampler can draw.
    ///
    /// # Privacy
    /// None.
    Off,
}

/// Why a rehearsal ends.
#[derive(Debug, thiserror::Error)]
pub enum RehearsalError {
    /// The plan's constants make no mechanism.
    #[error("the plan's {0}")]
    Mechanism(#[from] plan::Problem),
    /// A silo cannot train.
    #[error("silo {silo} cannot train: {why}")]
    Training {
        /// Counted from 0.
        silo: usize,
        /// What is wrong.
        #[source]
        why: trainer::TrainError,
    },
    /// A silo's update cannot be sent.
    #[error("silo {silo} has no update to send: {why}")]
    Protect {
        /// Counted from 0.
        silo: usize,
        /// What is wrong.
        #[source]
        why: plan::ProtectError,
    },
    /// The sum gives no model.
    #[error("the sum gives no model: {0}")]
    Step(#[from] protocol::SumFailure),
    /// The plan's clipping cannot go on.
    #[error("{0}")]
    ClipNorm(String),
    /// There is nothing to train on.
    #[error("there is no silo to rehearse with")]
    NoSilos,
    /// What it goes on from is not here.
    #[error(
        "the plan goes on from another run's model, and a rehearsal has only version 0 of a plan's own seed: leave `parent` out of the \
         plan to rehearse its rounds from there"
    )]
    Parent,
}

/// A run in progress.
pub struct Rehearsal<'a> {
    plan: Plan,
    mechanism: Mechanism,
    silos: &'a [Dataset],
    rng: ChaCha20Rng,
    params: Params,
    state: State,
    sum: Vec<u32>,
    aggregate: Vec<f32>,
    rounds: u64,
}

impl<'a> Rehearsal<'a> {
    /// Starts at version 0 of the plan's model. Equal arguments give equal models.
    ///
    /// The plan is not validated: a rehearsal may ask what another cohort, or less noise, would do.
    ///
    /// # Errors
    /// [`RehearsalError`]
    pub fn new(
        plan: &Plan,
        silos: &'a [Dataset],
        noise: NoiseLevel,
        seed: [u8; 32],
    ) -> Result<Self, RehearsalError> {
        if silos.is_empty() {
            return Err(RehearsalError::NoSilos);
        }
        if plan.parent.is_some() {
            return Err(RehearsalError::Parent);
        }
        let plan = with_noise(plan, noise);
        let mechanism = plan.mechanism()?;
        let params = plan.initial_model();
        let state = plan.initial_state(params.values().len());
        Ok(Self {
            plan,
            mechanism,
            silos,
            rng: ChaCha20Rng::from_seed(seed),
            params,
            state,
            sum: Vec::new(),
            aggregate: Vec::new(),
            rounds: 0,
        })
    }

    /// The model so far.
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// The last round's opened sum, as it is published.
    pub fn sum(&self) -> &[u32] {
        &self.sum
    }

    /// What the last round's sum says, as every member of a real run receives it: the server steps by it.
    pub fn aggregate(&self) -> &[f32] {
        &self.aggregate
    }

    /// What the next round's contributions are clipped to.
    ///
    /// # Errors
    /// [`RehearsalError::ClipNorm`]
    pub fn clip_norm(&self) -> Result<Option<f64>, RehearsalError> {
        self.plan.clip_norm_after(&self.state).map_err(RehearsalError::ClipNorm)
    }

    /// How many rounds were rehearsed.
    pub fn rounds(&self) -> u64 {
        self.rounds
    }

    /// One round with every silo.
    ///
    /// # Errors
    /// [`RehearsalError`]; the model is then what it was.
    pub fn round(&mut self) -> Result<&Params, RehearsalError> {
        let mut sum: Vec<u32> = Vec::new();
        let clip_norm = self.clip_norm()?;
        // All take part: what the plan removes of a full cohort's noise is not even drawn.
        let seeds = NoiseSeeds::nobody_drops(self.silos.len());
        let origin = origin_of(&self.plan, &self.params, &self.state);
        for (silo, data) in self.silos.iter().enumerate() {
            let trained = BurnTrainer
                .train(&self.plan, &self.params, data, clip_norm, seed(&mut self.rng))
                .map_err(|why| RehearsalError::Training { silo, why })?;
            let mut noise = ChaCha20Rng::from_seed(seed(&mut self.rng));
            let protected = self
                .mechanism
                .protect(Contribution::new(origin, trained), origin, &seeds, &mut noise)
                .map_err(|why| RehearsalError::Protect { silo, why })?;
            let lanes = protected.into_plain_lanes();
            sum.resize(lanes.len(), 0);
            for (sum, lane) in sum.iter_mut().zip(lanes) {
                *sum = sum.wrapping_add(lane);
            }
        }
        self.mechanism.noise_sum(&mut sum, &mut ChaCha20Rng::from_seed(seed(&mut self.rng)));
        let next = next_model(&self.plan, &sum, self.silos.len(), &self.params, self.state.clone())?;
        let read = self.mechanism.read_sum(&sum, self.silos.len(), &self.state);
        self.aggregate = read.map_err(|why| protocol::SumFailure::BadAggregate(why.to_string()))?.update;
        (self.params, self.state, self.sum) = (next.params, next.state, sum);
        self.rounds += 1;
        Ok(&self.params)
    }

    /// All the plan's rounds that are left.
    ///
    /// # Errors
    /// [`RehearsalError`]
    pub fn run(mut self) -> Result<Params, RehearsalError> {
        while self.rounds < self.plan.rounds {
            self.round()?;
        }
        Ok(self.params)
    }
}

/// The plan with this noise in place of its own.
fn with_noise(plan: &Plan, noise: NoiseLevel) -> Plan {
    let times = |factor: f64| {
        let mut changed = plan.clone();
        if let Some(promise) = changed.privacy.promise_mut() {
            promise.noise_multiplier *= factor;
        }
        changed
    };
    match noise {
        NoiseLevel::AsPlanned => plan.clone(),
        NoiseLevel::Times(factor) => times(factor),
        NoiseLevel::Off => {
            // The sampler refuses what is too fine for it, so the least noise is found by trying.
            let drawable = (0..64).map(|halvings| times(0.5f64.powi(halvings)));
            drawable.take_while(|plan| plan.mechanism().is_ok()).last().unwrap_or_else(|| plan.clone())
        }
    }
}

fn seed(rng: &mut ChaCha20Rng) -> [u8; 32] {
    let mut seed = [0; 32];
    rng.fill_bytes(&mut seed);
    seed
}

#[cfg(test)]
mod tests {
    use plan::{AdaptiveClipping, Privacy, Promise, Sampling, Scheme};

    use super::*;

    fn plan(rounds: u64) -> Plan {
        let text = include_str!("../../../../deploy/config/plan.toml");
        let mut plan = Plan::from_toml(text).unwrap();
        plan.rounds = rounds;
        plan.data = datasets::digits::data_section([-0.3, 0.7]);
        plan.privacy = Privacy::Private(Promise {
            epsilon: 4.9,
            delta: 1e-5,
            noise_multiplier: 5.324,
            clip_norm: 0.5,
            scale_bits: 16,
            scheme: Scheme::DistributedDpSgd {
                sampling: Sampling {
                    unit: plan::Sampled::Record,
                    rate: 1.0,
                    divisor: 1437.0,
                    rows_max: 1024,
                },
                remove_excess_noise: false,
                adaptive_clip: None,
            },
        });
        plan.server = optim::ServerOptimizer::FedAvg { learning_rate: 7.0, momentum: 0.8 };
        plan
    }

    fn silos(plan: &Plan) -> Vec<Dataset> {
        let table = |silo| datasets::digits::table(datasets::digits::silo_rows(silo, 3));
        (0..3).map(|silo| Dataset::from_csv("silo", table(silo).as_bytes(), &plan.data).unwrap()).collect()
    }

    fn accuracy(plan: &Plan, params: &Params) -> f64 {
        let table = datasets::digits::table(datasets::digits::held_out_rows());
        let held_out = Dataset::from_csv("held out", table.as_bytes(), &plan.data).unwrap();
        train::evaluate(plan, params, &held_out).unwrap().accuracy
    }

    #[test]
    fn a_rehearsed_run_learns_and_equal_seeds_give_equal_models() {
        let plan = plan(15);
        let silos = silos(&plan);
        let run =
            |seed| Rehearsal::new(&plan, &silos, NoiseLevel::AsPlanned, [seed; 32]).unwrap().run().unwrap();
        let model = run(1);
        assert!(accuracy(&plan, &model) > 0.7, "guessing is right in one of ten");
        assert_eq!(model.digest(), run(1).digest());
        assert_ne!(model.digest(), run(2).digest());
    }

    #[test]
    fn a_clip_norm_that_follows_the_median_corrects_a_bad_guess() {
        let run = |clip_norm: f64, adaptive: Option<AdaptiveClipping>| {
            let mut plan = plan(60);
            let promise = plan.privacy.promise_mut().unwrap();
            *promise.adaptive_clip_mut().unwrap() = adaptive;
            // Sums clipped to a constant 15 have room in the ring at a coarser scale only.
            (promise.clip_norm, promise.scale_bits) = (clip_norm, if clip_norm > 1.0 { 11 } else { 16 });
            // Without momentum, and at a rate that a clip norm of about 1 wants.
            plan.server = optim::ServerOptimizer::FedAvg { learning_rate: 4.0, momentum: 0.0 };
            let silos = silos(&plan);
            let mut run = Rehearsal::new(&plan, &silos, NoiseLevel::AsPlanned, [3; 32]).unwrap();
            while run.rounds() < plan.rounds {
                run.round().unwrap();
            }
            (accuracy(&plan, run.params()), run.clip_norm().unwrap().unwrap())
        };
        let adaptive = Some(AdaptiveClipping { target_quantile: 0.5, learning_rate: 0.3, share: 0.05 });
        let (good, _) = run(0.5, None);
        for guess in [0.5 * 30.0, 0.5 / 30.0] {
            let (constant, _) = run(guess, None);
            let (followed, clip_norm) = run(guess, adaptive);
            assert!(followed > good - 0.05, "from {guess}: {followed}, well chosen {good}");
            assert!(followed > constant + 0.1, "from {guess}: {followed}, constant {constant}");
            assert!((0.05..2.0).contains(&clip_norm), "from {guess}: {clip_norm}");
        }
    }

    #[test]
    fn clip_norms_of_whole_updates_move_towards_the_quantile_in_both_modes() {
        let adaptive_clip = Some(AdaptiveClipping { target_quantile: 0.5, learning_rate: 1.0, share: 0.5 });
        let (epsilon, delta, noise_multiplier, scale_bits) = (50.0, 1e-5, 0.01, 20);
        for clip_norm in [100.0, 0.001] {
            for privacy in [
                Privacy::Private(Promise {
                    epsilon,
                    delta,
                    noise_multiplier,
                    clip_norm,
                    scale_bits,
                    scheme: Scheme::DistributedDpFedavg { remove_excess_noise: false, adaptive_clip },
                }),
                Privacy::Private(Promise {
                    epsilon,
                    delta,
                    noise_multiplier,
                    clip_norm,
                    scale_bits,
                    scheme: Scheme::CentralDpFedavg { adaptive_clip },
                }),
            ] {
                let plan = Plan { privacy, ..plan(1) };
                let silos = silos(&plan);
                let mut run = Rehearsal::new(&plan, &silos, NoiseLevel::AsPlanned, [4; 32]).unwrap();
                run.round().unwrap();
                let moved = run.clip_norm().unwrap().unwrap() / clip_norm;
                // All three within, or none: by half, for the noise is as good as none.
                let expected = if clip_norm > 1.0 { 0.5 } else { 1.5 };
                assert!((moved - expected).abs() < 0.1, "{:?} from {clip_norm}: {moved}", plan.mode());
            }
        }
    }

    #[test]
    fn noise_is_switched_off_and_made_stronger_as_asked() {
        // The first round of a convex model is its clipped gradient plus the noise; every row is in the batch, so that
        // two seeds differ by their noise alone.
        let plan = plan(1);
        let silos = silos(&plan);
        let step = |noise, seed| {
            let model = Rehearsal::new(&plan, &silos, noise, [seed; 32]).unwrap().run().unwrap();
            model.into_values()
        };
        let spread = |noise| {
            let (a, b) = (step(noise, 1), step(noise, 2));
            let squared: f64 = a.iter().zip(&b).map(|(a, b)| f64::from(a - b).powi(2)).sum();
            (squared / (2.0 * a.len() as f64)).sqrt()
        };
        // z C / sqrt(honest_min) a silo, three silos, over the divisor, times the learning rate.
        let planned = 5.324 * 0.5 * (3.0f64 / 2.0).sqrt() * 7.0 / 1437.0;
        // 650 differences: five deviations of a standard deviation's estimate are 14 per cent.
        assert!(
            (spread(NoiseLevel::AsPlanned) / planned - 1.0).abs() < 0.14,
            "{}",
            spread(NoiseLevel::AsPlanned)
        );
        assert!((spread(NoiseLevel::Times(3.0)) / planned - 3.0).abs() < 0.42);
        assert!(spread(NoiseLevel::Off) < planned / 1000.0, "{}", spread(NoiseLevel::Off));
    }

    #[test]
    fn the_trusted_coordinators_noise_is_the_plans_and_no_other_mode_gets_any() {
        let (scale_bits, clip_norm, noise_multiplier) = (16, 1.0, 4.0);
        let mut plan = plan(1);
        let zeros = || vec![0u32; 650];
        let mut rng = ChaCha20Rng::from_seed([5; 32]);
        let mut untouched = zeros();
        plan.mechanism().unwrap().noise_sum(&mut untouched, &mut rng);
        assert_eq!(untouched, zeros(), "distributed noise is the silos'");
        plan.privacy = Privacy::Private(Promise {
            epsilon: 50.0,
            delta: 1e-5,
            noise_multiplier,
            clip_norm,
            scale_bits,
            scheme: Scheme::CentralDpFedavg { adaptive_clip: None },
        });
        let mechanism = plan.mechanism().unwrap();
        let (mut sum, mut again) = (zeros(), zeros());
        mechanism.noise_sum(&mut sum, &mut rng);
        mechanism.noise_sum(&mut again, &mut rng);
        assert_ne!(sum, again);
        let squares: f64 = sum.iter().map(|lane| f64::from(lane.cast_signed()).powi(2)).sum();
        // The sensitivity of a rounded update is at least the scaled clip norm, and below a hundredth more here.
        let least = noise_multiplier * clip_norm * f64::from(1 << scale_bits);
        let spread = (squares / 650.0).sqrt() / least;
        // Five deviations of a standard deviation's estimate over 650 draws are 14 per cent.
        assert!((0.86..1.16).contains(&spread), "{spread}");
    }

    #[test]
    fn nobody_and_numbers_without_a_mechanism_are_refused() {
        let plan = plan(1);
        assert!(matches!(Rehearsal::new(&plan, &[], NoiseLevel::Off, [0; 32]), Err(RehearsalError::NoSilos)));
        let silos = silos(&plan);
        let parent = plan::ParentModel {
            run: params::Digest::sha256(b"run"),
            round: 3,
            model: params::Digest::sha256(b"model"),
            rounds_before: 0,
        };
        let later = Plan { parent: Some(parent), ..plan.clone() };
        let refused = Rehearsal::new(&later, &silos, NoiseLevel::Off, [0; 32]).err().unwrap();
        assert!(refused.to_string().contains("leave `parent` out"), "{refused}");
        let refused = Rehearsal::new(&plan, &silos, NoiseLevel::Times(1e-9), [0; 32]).err().unwrap();
        assert!(refused.to_string().contains("privacy.scale_bits"), "{refused}");
    }
}
