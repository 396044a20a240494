//! Runs and their accuracies, by seed.

use accounting::{DpEvent, epsilon_of};
use datasets::Dataset;
use optim::ServerOptimizer;
use plan::{Cohort, Data, LocalOptimizer, Model, Plan, Privacy, Timing, Training};
use rehearsal::{NoiseLevel, Rehearsal};

use crate::error::UtilityError;

/// The delta of every epsilon in the reports.
pub(super) const DELTA: f64 = 1e-5;

/// What a report varies.
pub(super) struct Setup {
    pub(super) data: Data,
    pub(super) model: Model,
    pub(super) training: Training,
    pub(super) server: ServerOptimizer,
    pub(super) privacy: Privacy,
    pub(super) honest_min: usize,
    pub(super) rounds: u64,
}

impl Setup {
    /// The plan for so many silos. A trusted centre is one silo that counts as honest: such a plan cannot be run, only
    /// rehearsed.
    pub(super) fn plan(self, silos: usize) -> Plan {
        Plan {
            format: Some(Plan::NUMBERED),
            id: None,
            federation: None,
            parent: None,
            name: "utility".into(),
            rounds: self.rounds,
            model: self.model,
            data: self.data,
            training: self.training,
            server: self.server,
            privacy: self.privacy,
            cohort: Cohort { minimum: silos, maximum: silos, corrupt: 1, honest_min: self.honest_min },
            timing: Timing {
                round_deadline_ms: 20_000,
                minimum_wait_ms: 500,
                ready_after_ms: 0,
                attempts_max: 3,
                patience_days: None,
            },
        }
    }
}

/// Local training that a mode of one step a round does not use.
pub(super) fn training(local_epochs: u32, batch_size: usize, learning_rate: f64) -> Training {
    Training { local_epochs, batch_size, optimizer: LocalOptimizer::Sgd, learning_rate, micro_batch: 64 }
}

/// Plain averaging of what the silos send, at this rate.
pub(super) fn averaging(learning_rate: f64, momentum: f64) -> ServerOptimizer {
    ServerOptimizer::FedAvg { learning_rate, momentum }
}

/// Held-out accuracy after each of `rounds`, for each of so many seeds.
///
/// # Shapes
/// `[rounds][seeds]`
pub(super) fn accuracies(
    plan: &Plan,
    silos: &[Dataset],
    held_out: &Dataset,
    rounds: &[u64],
    seeds: u8,
) -> Result<Vec<Vec<f64>>, UtilityError> {
    let mut measured = vec![Vec::new(); rounds.len()];
    for seed in 1..=seeds {
        let mut run = Rehearsal::new(plan, silos, NoiseLevel::AsPlanned, [seed; 32])?;
        for (until, measured) in rounds.iter().zip(&mut measured) {
            while run.rounds() < *until {
                run.round()?;
            }
            let metrics = train::evaluate(plan, run.params(), held_out)?;
            measured.push(metrics.accuracy);
        }
    }
    Ok(measured)
}

/// Epsilon at [`DELTA`] of so many steps, as plans are held to: RDP at integer orders.
pub(super) fn epsilon(sampling_rate: f64, noise_multiplier: f64, steps: u64) -> Result<f64, UtilityError> {
    let step = DpEvent::PoissonGaussian { sampling_rate, noise_multiplier };
    Ok(epsilon_of([(step, steps)], DELTA)?)
}

pub(super) fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// Mean and standard deviation over the seeds, in per cent.
pub(super) fn percent(values: &[f64]) -> String {
    let mean = mean(values);
    if values.len() < 2 {
        return format!("{:.1}", 100.0 * mean);
    }
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    format!("{:.1} ± {:.1}", 100.0 * mean, 100.0 * (squares / (values.len() - 1) as f64).sqrt())
}
