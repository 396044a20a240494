//! What a plan asks, what it will cost and whether it can work, before anything runs.
//!
//! Owns: [`Forecast`], every figure that follows from a plan alone; its lines for people ([`Forecast::to_text`]), and those of what the plan asks
//! ([`report`]). Does not: know a silo's data, measure anything, or decide whether a plan may run.
//!
//! ```
//! let plan = plan::Plan::from_toml(include_str!("../../../../deploy/config/plan.toml"))?;
//! let forecast = forecast::Forecast::of(&plan)?;
//! assert!(forecast.epsilon.is_some_and(|epsilon| epsilon.at_the_end <= epsilon.budget));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

mod learning;
mod report;
mod suggestions;
mod text;

use accounting::{AccountingError, Relation, Unit, epsilon_of, fractional_epsilon, pld_epsilon};
use plan::{Clipping, Mechanism, Plan, PrivacyMode, Problem, Promise, Scheme, SharedNoise};
use secagg::ThresholdError;
use serde::Serialize;

use suggestions::suggestions;

pub use learning::{ServerStep, TrainingTime};
pub use report::report;

/// Speeds that times are estimated with; measured on one core of a server of 2024, to be replaced by one's own.
const MASK_BYTES_PER_SECOND: f64 = 1.5e9;
const SAMPLES_PER_SECOND: f64 = 4e6;
const NETWORK_BYTES_PER_SECOND: f64 = 12.5e6;
/// What the tensor library takes besides, by measurement.
const LIBRARY_BYTES: u64 = 4 << 20;
/// Sealed shares, adverts, signatures and answers: a few hundred bytes for each other silo.
const SMALL_BYTES_PER_SILO: u64 = 600;
/// A link of noise seeds: a share and its opening, sealed, its commitment, and its part of the answer.
const NOISE_LINK_BYTES: u64 = 100;

/// A number that no valid plan holds.
#[derive(Debug, thiserror::Error)]
pub enum ForecastError {
    /// A cohort in which no threshold is safe.
    #[error(transparent)]
    Cohort(#[from] ThresholdError),
    /// Noise that no accountant takes.
    #[error(transparent)]
    Accounting(#[from] AccountingError),
    /// Constants that make no mechanism.
    #[error(transparent)]
    Mechanism(#[from] Problem),
}

/// Everything that is known of a run beforehand.
#[derive(Debug, Serialize)]
pub struct Forecast {
    /// The plan's mode.
    pub mode: &'static str,
    /// What the promise hides: a record, a silo.
    pub unit: &'static str,
    /// Which data sets the promise compares.
    pub relation: &'static str,
    /// Who adds the noise.
    pub noise_by: &'static str,
    /// Whom the promise rests on.
    pub trust: String,
    /// The plan's rounds.
    pub rounds: u64,
    /// `None` in the mode without noise.
    pub epsilon: Option<Epsilons>,
    /// `None` in the mode without noise.
    pub noise: Option<NoiseToSignal>,
    /// `None` in the mode without a clip norm, and where the server's optimiser divides by what it remembers.
    pub server_step: Option<ServerStep>,
    pub training: TrainingTime,
    /// On the network.
    pub bytes: Bytes,
    /// At its peak.
    pub memory: Memory,
    /// Of a round.
    pub seconds: Seconds,
    /// Silos of the largest cohort that may be lost after they shared their keys.
    pub dropouts_tolerated: usize,
    /// Honest silos in any sum that opens.
    pub honest_floor: usize,
    /// Why it may not work.
    pub warnings: Vec<String>,
    /// What would make it better at the same promise.
    pub suggestions: Vec<String>,
}

/// Epsilon by each accountant, at the plan's delta.
#[derive(Debug, Serialize)]
pub struct Epsilons {
    /// What the plan allows.
    pub budget: f64,
    pub delta: f64,
    /// RDP at integer orders, proven for the discrete noise: what the run is held to.
    pub at_the_end: f64,
    /// By the same accountant.
    pub after_one_round: f64,
    /// What the last round adds.
    pub last_round_adds: f64,
    /// RDP at fractional orders: a continuous approximation, which gates nothing.
    pub rdp_fractional: f64,
    /// By privacy loss distributions: another.
    pub pld: f64,
}

/// The noise of one round's step against the largest step that clipping allows, both as L2 norms before the server's rate.
/// How many rows silos have is nobody's business but theirs: where a plan has a divisor, a batch is taken to have as many.
#[derive(Debug, Serialize)]
pub struct NoiseToSignal {
    /// The noise, in expectation.
    pub noise_norm: f64,
    /// The largest step.
    pub signal_norm_max: f64,
    /// One over the other, of a single round and over all coordinates together. It decides nothing by itself: rounds add up, and
    /// what is learned is in few of the directions that the noise is spread over.
    pub ratio: f64,
    /// The same of the whole run: the norm of all noise that has added up, over the longest way in one direction. `None` where the
    /// server's optimiser divides by what it remembers.
    pub ratio_of_run: Option<f64>,
}

/// What crosses the network.
#[derive(Debug, Serialize)]
pub struct Bytes {
    /// What a silo sends.
    pub up_per_silo_and_round: u64,
    /// What it fetches.
    pub down_per_silo_and_round: u64,
    /// Both, in all rounds.
    pub per_silo_and_run: u64,
}

/// What must fit into memory.
#[derive(Debug, Serialize)]
pub struct Memory {
    /// Beside the silo's table.
    pub silo_bytes: u64,
    /// In a round, whatever the number of silos.
    pub coordinator_bytes: u64,
}

/// How long a round takes.
#[derive(Debug, Serialize)]
pub struct Seconds {
    /// Masks, noise and transfers, with the assumed speeds; the silo's training comes on top.
    pub per_round_beside_training: f64,
    /// A round that takes longer is aborted.
    pub per_round_at_most: f64,
}

impl Forecast {
    /// Of a valid plan.
    ///
    /// # Errors
    /// Numbers that a valid plan cannot hold.
    pub fn of(plan: &Plan) -> Result<Self, ForecastError> {
        let mode = plan.mode();
        let cohort = &plan.cohort;
        let threshold = secagg::Threshold::new(cohort.minimum, cohort.corrupt)?;
        let noise = noise_to_signal(plan)?;
        let mut forecast = Self {
            mode: mode.name(),
            unit: Unit::or_none(plan.unit()),
            relation: Relation::or_none(plan.privacy.relation()),
            noise_by: mode.noise_by(),
            trust: plan.trust(),
            rounds: plan.rounds,
            epsilon: epsilons(plan)?,
            bytes: bytes(plan),
            memory: memory(plan),
            seconds: seconds(plan, noise.is_some()),
            noise,
            server_step: learning::server_step(plan),
            training: learning::training_time(plan),
            dropouts_tolerated: cohort.dropouts_survived(),
            honest_floor: threshold.honest_in_any_sum(),
            warnings: Vec::new(),
            suggestions: suggestions(plan)?,
        };
        forecast.warn(plan);
        Ok(forecast)
    }

    fn warn(&mut self, plan: &Plan) {
        let silos = plan.cohort.maximum;
        if self.epsilon.is_none() {
            self.warnings.push(
                "no differential privacy: the coordinator sees exact sums, which can be differenced across rounds".into(),
            );
        }
        if plan.mode() == PrivacyMode::CentralDpFedavg {
            self.warnings
                .push("the coordinator sees exact sums and has to be trusted to add the noise".into());
        }
        if plan.unit() == Some(Unit::Silo) && silos < 1000 {
            self.warnings.push(format!(
                "this mode hides a whole silo among the others, and wants about a thousand; with {silos} it learns \
                 nothing at an epsilon that means anything: use distributed_dp_sgd, which hides records"
            ));
        }
        if let Some(ratio) =
            self.noise.as_ref().and_then(|noise| noise.ratio_of_run).filter(|ratio| *ratio >= 1.0)
        {
            self.warnings.push(format!(
                "the noise that adds up over the run has {ratio:.1} times the norm of {} largest steps in one direction: take more \
                 silos or larger batches, fewer parameters, or a larger epsilon",
                self.rounds
            ));
        }
        self.warnings.extend(self.training.warning(plan));
        if self.dropouts_tolerated == 0 {
            self.warnings
                .push("a single silo that is lost in a round ends its attempt: raise cohort.maximum".into());
        }
    }
}

fn epsilons(plan: &Plan) -> Result<Option<Epsilons>, ForecastError> {
    let Some((event, (budget, delta))) = plan.event().zip(plan.budget()) else { return Ok(None) };
    let gating = |rounds: u64| epsilon_of([(event, rounds)], delta);
    let at_the_end = gating(plan.rounds)?;
    let events = [(event, plan.rounds)];
    Ok(Some(Epsilons {
        budget,
        delta,
        at_the_end,
        after_one_round: gating(1)?,
        last_round_adds: at_the_end - gating(plan.rounds.max(1) - 1)?,
        rdp_fractional: fractional_epsilon(&events, delta)?.epsilon,
        pld: pld_epsilon(&events, delta)?,
    }))
}

fn noise_to_signal(plan: &Plan) -> Result<Option<NoiseToSignal>, ForecastError> {
    let mechanism = plan.mechanism()?;
    let silos = plan.cohort.maximum as f64;
    let dimension = plan.architecture().parameter_count() as f64;
    // Every silo of the largest cohort is in the sum.
    let norm =
        |noise: &SharedNoise, scale: f64| dimension.sqrt() * noise.sigma_in_sum(plan.cohort.maximum) / scale;
    let Some(promise) = plan.privacy.promise() else { return Ok(None) };
    if let Scheme::SiloDpSgd { sampling, local_steps, .. } = promise.scheme {
        // Every silo's steps carry all their noise; averaging the silos divides it by their root.
        let steps = f64::from(local_steps);
        let noise_norm = promise.noise_multiplier * promise.clip_norm * (dimension * steps / silos).sqrt()
            / sampling.divisor;
        let signal_norm_max = promise.clip_norm * steps;
        return Ok(Some(NoiseToSignal::of(plan, noise_norm, signal_norm_max)));
    }
    let signal_norm_max = promise.clip_norm;
    // A clip norm that moves scales the noise with the signal: both are given for its start.
    let unit = |clipping: Clipping| match clipping {
        Clipping::Constant(_) => 1.0,
        Clipping::Adaptive(adaptive) => adaptive.initial(),
    };
    let noise_norm = match mechanism {
        Mechanism::Exact { .. } => return Ok(None),
        Mechanism::Sums { scale, clipping, noise, divisor, .. } => {
            // A batch has about `divisor` records, each clipped.
            unit(clipping) * norm(&noise, scale.factor()) / divisor
        }
        Mechanism::Central { scale, clipping, sigma } => {
            unit(clipping) * dimension.sqrt() * sigma.value() / scale.factor() / silos
        }
        Mechanism::Updates { scale, clipping, noise } => {
            unit(clipping) * norm(&noise, scale.factor()) / silos
        }
    };
    Ok(Some(NoiseToSignal::of(plan, noise_norm, signal_norm_max)))
}

fn bytes(plan: &Plan) -> Bytes {
    let lanes = plan.lanes() as u64 * Plan::LANE_BYTES;
    let shares = SMALL_BYTES_PER_SILO + NOISE_LINK_BYTES * removable_levels(plan);
    let small = shares * plan.cohort.maximum as u64;
    // A silo fetches each round's sum, and steps the model itself.
    let (up, down) = (lanes + small, lanes + small);
    Bytes {
        up_per_silo_and_round: up,
        down_per_silo_and_round: down,
        per_silo_and_run: (up + down).saturating_mul(plan.rounds),
    }
}

/// Components of each silo's noise that a full cohort's sum does without.
fn removable_levels(plan: &Plan) -> u64 {
    let cohort = &plan.cohort;
    match secagg::Threshold::new(cohort.maximum, cohort.corrupt) {
        Ok(threshold) if plan.excess_noise().is_removed() => threshold.dropouts_tolerated() as u64,
        _ => 0,
    }
}

fn memory(plan: &Plan) -> Memory {
    let architecture = plan.architecture();
    let parameters = architecture.parameter_count() as u64;
    let lanes = plan.lanes() as u64;
    let (rows, sums) = match plan.privacy.promise().and_then(Promise::sampling) {
        // A sum in twice the precision of f64, what is added to it, and a product.
        Some(_) => (plan.training.micro_batch, 4 * 8),
        // Parameters and gradients as tensors and flat, and the local optimiser's moments.
        None => (plan.training.batch_size, 4 * 4 + 16),
    };
    // Model and optimiser, the update, the lanes plain and masked.
    let vectors = parameters * (4 + 16 + 4 + sums) + 2 * lanes * 4;
    // A forward and a backward pass hold what every layer gave about three times, in f32.
    let training = (architecture.values_at_once() as u64).saturating_mul(rows as u64 * 4 * 3);
    Memory {
        silo_bytes: vectors.saturating_add(training).saturating_add(LIBRARY_BYTES),
        // The sum, one staged vector, the model before and after, the optimiser's moments, files being written.
        coordinator_bytes: lanes * 4 * 2 + parameters * (4 * 4 + 16),
    }
}

fn seconds(plan: &Plan, noised: bool) -> Seconds {
    let lanes = plan.lanes() as f64;
    let masks = lanes * 4.0 * plan.cohort.maximum as f64 / MASK_BYTES_PER_SECOND;
    // Each silo draws its own noise at the same time; the coordinator draws what it takes off once more, of all silos.
    let excess = removable_levels(plan) as f64;
    let drawn = if noised { 1.0 + excess * (1.0 + plan.cohort.maximum as f64) } else { 0.0 };
    let noise = drawn * lanes / SAMPLES_PER_SECOND;
    // The coordinator takes off one self mask a silo, and receives every vector over one line.
    let bytes = bytes(plan);
    let transfers = (bytes.up_per_silo_and_round + bytes.down_per_silo_and_round) as f64
        * plan.cohort.maximum as f64
        / NETWORK_BYTES_PER_SECOND;
    let waits = (plan.timing.ready_after_ms + plan.timing.minimum_wait_ms) as f64 / 1000.0;
    Seconds {
        per_round_beside_training: 2.0 * masks + noise + transfers + waits,
        per_round_at_most: plan.timing.round_deadline_ms as f64 / 1000.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use plan::Cohort;

    #[test]
    fn the_dropouts_that_a_round_survives_are_capped_by_the_smallest_cohort() {
        let of =
            |minimum, maximum| Cohort { minimum, maximum, corrupt: 1, honest_min: 2 }.dropouts_survived();
        assert_eq!([of(3, 3), of(4, 5), of(5, 5), of(3, 12)], [0, 1, 0, 5]);
    }

    #[test]
    fn the_sample_plan_can_work_and_its_budget_is_what_the_gating_accountant_says() {
        let plan = Plan::from_toml(include_str!("../../../../deploy/config/plan.toml")).unwrap();
        let forecast = Forecast::of(&plan).unwrap();
        let epsilon = forecast.epsilon.as_ref().unwrap();
        assert!(epsilon.pld < epsilon.rdp_fractional && epsilon.rdp_fractional <= epsilon.at_the_end);
        assert!(epsilon.at_the_end <= epsilon.budget, "{epsilon:?}");
        assert_eq!(forecast.bytes.per_silo_and_run % plan.rounds, 0);
    }
}
