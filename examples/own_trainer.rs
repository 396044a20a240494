//! A silo's trainer with code of its own: full-batch descent for softmax regression in plans of mode `fedavg`. It has the data and no
//! network; masks and the ledger are the daemon's, and so is the noise, in modes that have it.
//!
//!     cargo build --example own_trainer
//!
//! and in client.toml:
//!
//!     [trainer]
//!     program = "target/debug/examples/own_trainer"

use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use datasets::Dataset;
use dp::LocalUpdate;
use params::Params;
use plan::Plan;
use trainer::{TrainError, Trained, Trainer, TrainingMetrics};

struct ByHand;
impl Trainer for ByHand {
    fn train(
        &mut self,
        plan: &Plan,
        model: &Params,
        data: &Dataset,
        _clip_norm: Option<f64>,
        _seed: [u8; 32],
    ) -> Result<Trained, TrainError> {
        let (classes, rows) = (plan.data.classes.count(), data.rows());
        // The layout of softmax regression: a weight for each feature and class, row by row, then a bias for each class.
        let (weights, biases) = model.values().split_at(model.values().len() - classes);
        let mut step = vec![0.0; model.values().len()];
        let (mut loss, mut right, rate) = (0.0, 0, plan.training.learning_rate as f32 / rows as f32);
        for (row, &label) in (0..rows).filter_map(|row| data.row(row)).zip(data.labels()) {
            let label = usize::from(label);
            let logit = |class: usize| {
                row.iter().enumerate().map(|(i, x)| x * weights[i * classes + class]).sum::<f32>()
                    + biases[class]
            };
            let most = (0..classes).map(logit).fold(f32::MIN, f32::max);
            let odds: Vec<f32> = (0..classes).map(|class| (logit(class) - most).exp()).collect();
            let (total, weight): (f32, _) = (odds.iter().sum(), plan.data.class_weight(label) as f32);
            loss -= f64::from((odds[label] / total).ln());
            right += usize::from(odds.iter().all(|odd| *odd <= odds[label]));
            for (class, odd) in odds.iter().enumerate() {
                let scaled = weight * rate * (f32::from(class == label) - odd / total);
                row.iter().enumerate().for_each(|(i, x)| step[i * classes + class] += scaled * x);
                step[weights.len() + class] += scaled;
            }
        }
        let metrics = TrainingMetrics { loss: loss / rows as f64, accuracy: right as f64 / rows as f64 };
        Ok(Trained::Local { update: LocalUpdate::new(step)?, rows: rows as u64, metrics })
    }
}

/// Started by a silo's daemon, with the command line of `folkmoot-trainer`.
#[derive(Parser)]
struct Command {
    #[command(flatten)]
    args: trainer::program::Args,
}

fn main() -> ExitCode {
    let trainers: trainer::Trainers = Arc::new(|_| Box::new(ByHand));
    trainer::program::main_with(&Command::parse().args, &trainers)
}
