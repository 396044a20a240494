//! What a plan will cost and whether it can work, before anything runs.

use std::fmt::Write;

use accounting::{AccountingError, fractional_epsilon, pld_epsilon, rounded_up};
use plan::{Clipping, Mechanism, Plan, Privacy, SharedNoise};
use secagg::ThresholdError;
use serde::Serialize;

use super::suggestions::suggestions;
use super::{LANE_BYTES, dropouts_survived};

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
pub(crate) enum ForecastError {
    #[error(transparent)]
    Cohort(#[from] ThresholdError),
    #[error(transparent)]
    Accounting(#[from] AccountingError),
    #[error(transparent)]
    Mechanism(#[from] plan::Problem),
}

/// Everything that is known of a run beforehand.
#[derive(Debug, Serialize)]
pub(super) struct Forecast {
    pub(super) mode: &'static str,
    pub(super) unit: &'static str,
    pub(super) relation: &'static str,
    pub(super) noise_by: &'static str,
    pub(super) trust: String,
    pub(super) rounds: u64,
    pub(super) epsilon: Option<Epsilons>,
    pub(super) noise: Option<NoiseToSignal>,
    pub(super) bytes: Bytes,
    pub(super) memory: Memory,
    pub(super) seconds: Seconds,
    pub(super) dropouts_tolerated: usize,
    pub(super) honest_floor: usize,
    pub(super) warnings: Vec<String>,
    pub(super) suggestions: Vec<String>,
}

/// Epsilon by each accountant, at the plan's delta.
#[derive(Debug, Serialize)]
pub(super) struct Epsilons {
    pub(super) budget: f64,
    pub(super) delta: f64,
    /// RDP at integer orders, proven for the discrete noise: what the run is held to.
    pub(super) at_the_end: f64,
    pub(super) after_one_round: f64,
    /// What the last round adds.
    pub(super) last_round_adds: f64,
    /// Continuous approximations.
    pub(super) rdp_fractional: f64,
    pub(super) pld: f64,
}

/// The noise of one round's step against the largest step that clipping allows, both as L2 norms before the server's rate.
/// How many rows silos have is nobody's business but theirs: where a plan has a divisor, a batch is taken to have as many.
#[derive(Debug, Serialize)]
pub(super) struct NoiseToSignal {
    pub(super) noise_norm: f64,
    pub(super) signal_norm_max: f64,
    pub(super) ratio: f64,
}

#[derive(Debug, Serialize)]
pub(super) struct Bytes {
    pub(super) up_per_silo_and_round: u64,
    pub(super) down_per_silo_and_round: u64,
    pub(super) per_silo_and_run: u64,
}

#[derive(Debug, Serialize)]
pub(super) struct Memory {
    /// Beside the silo's table.
    pub(super) silo_bytes: u64,
    pub(super) coordinator_bytes: u64,
}

#[derive(Debug, Serialize)]
pub(super) struct Seconds {
    /// Masks, noise and transfers, with the assumed speeds; the silo's training comes on top.
    pub(super) per_round_beside_training: f64,
    /// A round that takes longer is aborted.
    pub(super) per_round_at_most: f64,
}

impl Forecast {
    /// Of a valid plan.
    ///
    /// # Errors
    /// Numbers that a valid plan cannot hold.
    pub(super) fn of(plan: &Plan) -> Result<Self, ForecastError> {
        let mode = plan.mode();
        let cohort = &plan.cohort;
        let threshold = secagg::Threshold::new(cohort.minimum, cohort.corrupt)?;
        let noise = noise_to_signal(plan)?;
        let mut forecast = Self {
            mode: mode.name(),
            unit: mode.unit(),
            relation: mode.relation(),
            noise_by: mode.noise_by(),
            trust: plan.trust(),
            rounds: plan.rounds,
            epsilon: epsilons(plan)?,
            bytes: bytes(plan),
            memory: memory(plan),
            seconds: seconds(plan, noise.is_some()),
            noise,
            dropouts_tolerated: dropouts_survived(cohort),
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
        if self.mode == "central_dp_fedavg" {
            self.warnings
                .push("the coordinator sees exact sums and has to be trusted to add the noise".into());
        }
        if self.unit == "silo" && silos < 1000 {
            self.warnings.push(format!(
                "this mode hides a whole silo among the others, and wants about a thousand; with {silos} it learns \
                 nothing at an epsilon that means anything: use distributed_dp_sgd, which hides records"
            ));
        }
        if let Some(noise) = &self.noise {
            if noise.ratio >= 1.0 {
                self.warnings.push(format!(
                    "USELESS: a round's noise is {:.1} times the largest step that clipping allows; take more silos or \
                     larger batches, fewer parameters, or a larger epsilon",
                    noise.ratio
                ));
            } else if noise.ratio >= 0.3 {
                self.warnings.push(format!(
                    "a round's noise is {:.0} % of the largest step that clipping allows, and real steps are smaller: \
                     expect slow or no progress",
                    100.0 * noise.ratio
                ));
            }
        }
        if self.dropouts_tolerated == 0 {
            self.warnings
                .push("a single silo that is lost in a round ends its attempt: raise cohort.maximum".into());
        }
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        let mut row = |name: &str, value: String| {
            let _ = writeln!(text, "{name:<13} {value}");
        };
        match &self.epsilon {
            None => row("epsilon", "none: exact sums".into()),
            Some(epsilon) => {
                row(
                    "epsilon",
                    format!(
                        "{} at the end, of {} at delta {} (RDP at integer orders: this is held to)",
                        rounded_up(epsilon.at_the_end, 4),
                        epsilon.budget,
                        epsilon.delta
                    ),
                );
                row(
                    "  by round",
                    format!(
                        "{} after the first, the last adds {}",
                        rounded_up(epsilon.after_one_round, 4),
                        rounded_up(epsilon.last_round_adds, 4)
                    ),
                );
                row(
                    "  continuous",
                    format!(
                        "{} by RDP at fractional orders, {} by PLD (approximations, they gate nothing)",
                        rounded_up(epsilon.rdp_fractional, 4),
                        rounded_up(epsilon.pld, 4)
                    ),
                );
            }
        }
        if let Some(noise) = &self.noise {
            row(
                "noise",
                format!(
                    "norm {:.4} a round against a largest signal of {:.4}: {:.1} %",
                    noise.noise_norm,
                    noise.signal_norm_max,
                    100.0 * noise.ratio
                ),
            );
        }
        let bytes = &self.bytes;
        row(
            "bytes",
            format!(
                "{} up and {} down a silo and round, {} a silo and run",
                sized(bytes.up_per_silo_and_round),
                sized(bytes.down_per_silo_and_round),
                sized(bytes.per_silo_and_run)
            ),
        );
        row(
            "memory",
            format!(
                "a silo {} beside its table, the coordinator {}",
                sized(self.memory.silo_bytes),
                sized(self.memory.coordinator_bytes)
            ),
        );
        row(
            "time",
            format!(
                "about {:.2} s a round beside training (masks at 1.5 GB/s, noise at 4 M/s, network at 100 Mbit/s), \
                 {} s at most",
                self.seconds.per_round_beside_training, self.seconds.per_round_at_most
            ),
        );
        row(
            "dropouts",
            format!("{} of the largest cohort may be lost after sharing keys", self.dropouts_tolerated),
        );
        row("honest floor", format!("{} honest silos in any sum that opens", self.honest_floor));
        for warning in &self.warnings {
            row("WARNING", warning.clone());
        }
        for suggestion in &self.suggestions {
            row("suggestion", suggestion.clone());
        }
        text
    }
}

fn epsilons(plan: &Plan) -> Result<Option<Epsilons>, ForecastError> {
    let Some((event, (budget, delta))) = plan.event().zip(plan.budget()) else { return Ok(None) };
    let gating = |rounds: u64| -> Result<f64, ForecastError> {
        let mut curve = accounting::RdpCurve::zero();
        curve.compose(&event, rounds)?;
        Ok(curve.epsilon(delta)?.epsilon)
    };
    let at_the_end = gating(plan.rounds)?;
    let events = [(event, plan.rounds)];
    Ok(Some(Epsilons {
        budget,
        delta,
        at_the_end,
        after_one_round: gating(1)?,
        last_round_adds: at_the_end - gating(plan.rounds.saturating_sub(1))?,
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
    if let plan::Privacy::SiloDpSgd { noise_multiplier, clip_norm, divisor, local_steps, .. } = plan.privacy {
        // Every silo's steps carry all their noise; averaging the silos divides it by their root.
        let steps = f64::from(local_steps);
        let noise_norm = noise_multiplier * clip_norm * (dimension * steps / silos).sqrt() / divisor;
        let signal_norm_max = clip_norm * steps;
        return Ok(Some(NoiseToSignal { noise_norm, signal_norm_max, ratio: noise_norm / signal_norm_max }));
    }
    let signal_norm_max = plan.clip_norm().unwrap_or_default();
    // A clip norm that moves scales the noise with the signal: both are told at its start.
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
    Ok(Some(NoiseToSignal { noise_norm, signal_norm_max, ratio: noise_norm / signal_norm_max }))
}

fn bytes(plan: &Plan) -> Bytes {
    let lanes = plan.lanes() as u64 * LANE_BYTES;
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
    let (rows, sums) = match plan.privacy {
        // A sum in twice the precision of f64, what is added to it, and a product.
        Privacy::DistributedDpSgd { .. } | Privacy::SiloDpSgd { .. } => (plan.training.micro_batch, 4 * 8),
        // Parameters and gradients as tensors and flat, and the local optimiser's moments.
        Privacy::Fedavg { .. } | Privacy::DistributedDpFedavg { .. } | Privacy::CentralDpFedavg { .. } => {
            (plan.training.batch_size, 4 * 4 + 16)
        }
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

fn sized(bytes: u64) -> String {
    match bytes {
        0..10_000 => format!("{bytes} B"),
        10_000..10_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        10_000_000..10_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.1} GB", bytes as f64 / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::{Mode, demo_plan};

    fn forecast(mode: Mode, silos: usize) -> Forecast {
        Forecast::of(&demo_plan(mode, silos, None, None).unwrap()).unwrap()
    }

    #[test]
    fn the_shipped_plan_stays_in_its_budget_by_every_accountant_and_can_work() {
        let forecast = forecast(Mode::DistributedDpSgd, 5);
        let epsilon = forecast.epsilon.as_ref().unwrap();
        assert!(epsilon.pld < epsilon.rdp_fractional && epsilon.rdp_fractional <= epsilon.at_the_end);
        assert!(epsilon.at_the_end <= epsilon.budget && epsilon.at_the_end > 0.99 * epsilon.budget);
        assert!(epsilon.last_round_adds > 0.0 && epsilon.last_round_adds < epsilon.after_one_round);
        // z C sqrt(n / (n - c)) sqrt(d) over the divisor, against C.
        let expected = 5.324 * 1.25f64.sqrt() * 650f64.sqrt() / 1437.0;
        let noise = forecast.noise.as_ref().unwrap();
        assert!((noise.ratio / expected - 1.0).abs() < 0.01, "{noise:?} {expected}");
        assert!(forecast.warnings.is_empty(), "{:?}", forecast.warnings);
        assert_eq!((forecast.dropouts_tolerated, forecast.honest_floor), (1, 2));
        assert!(!forecast.text().contains("suggestion    sampling_rate"), "every record is in every batch");
    }

    #[test]
    fn a_mode_that_cannot_work_at_this_size_is_called_so() {
        let text = forecast(Mode::DistributedDpFedavg, 5).text();
        assert!(
            text.contains("WARNING       this mode hides a whole silo") && text.contains("USELESS"),
            "{text}"
        );
        let text = forecast(Mode::None, 5).text();
        assert!(text.contains("none: exact sums") && text.contains("no differential privacy"), "{text}");
    }

    #[test]
    fn excess_noise_that_could_be_removed_is_pointed_out_and_removal_is_paid_for() {
        let removing = demo_plan(Mode::DistributedDpSgd, 5, None, None).unwrap();
        let mut keeping = removing.clone();
        let Privacy::DistributedDpSgd { remove_excess_noise, .. } = &mut keeping.privacy else { panic!() };
        *remove_excess_noise = false;
        let (removing, keeping) = (Forecast::of(&removing).unwrap(), Forecast::of(&keeping).unwrap());
        // Five silos, noise calibrated to honest_min = 2 of them or to all but the corrupt one: sqrt((5/4)/(5/2)).
        let ratio = removing.noise.as_ref().unwrap().ratio / keeping.noise.as_ref().unwrap().ratio;
        assert!((ratio - 0.5f64.sqrt()).abs() < 1e-6, "{ratio}");
        let hint =
            "suggestion    remove_excess_noise = true would leave a full cohort's sums 71 % of this noise";
        assert!(keeping.text().contains(hint), "{}", keeping.text());
        assert!(!removing.text().contains("remove_excess_noise"), "{}", removing.text());
        let more = removing.bytes.up_per_silo_and_round - keeping.bytes.up_per_silo_and_round;
        assert_eq!(more, 5 * NOISE_LINK_BYTES);
    }
}
