//! A silo's training, with burn: the one crate that holds it, beside those that link the client.
//!
//! Owns: the layers that plans declare on burn tensors, local training (SGD, Adam), and the clipped
//! sum of per-example gradients by one backward pass. Does not: round, add noise or mask;
//! decide anything about rounds.
//!
//! ```text
//! Params, Dataset, seed --train--> Trained::Local { update, rows, metrics }     modes that train locally
//!                                  Trained::Clipped                             modes that hide whole silos
//!                                  Trained::ClippedSum                          distributed DP-SGD: one step
//! ```
//!
//! # Paper
//! Abadi et al. 2016 (per-example clipping); Bu et al. 2022, arXiv 2210.00038 (book-keeping: norms and clipped sums
//! from layer inputs and output gradients, without per-example gradients).
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

mod batch;
mod clipped;
mod gradients;
mod image;
mod local;
mod network;
mod noised;
mod poisson;
mod predict;
mod stop;

use std::sync::Arc;

use datasets::Dataset;
use dp::{ClippedUpdate, LocalUpdate};
use params::{Architecture, Params};
use plan::{Plan, Privacy, Scheme};
use trainer::{Stop, TrainError, Trained, Trainer, Trainers, TrainingMetrics};

pub use predict::{Answer, PredictError, Prediction, Predictor};
pub use stop::StoppableTrainer;

/// The trainer of the models that plans declare.
#[derive(Debug, Default, Clone, Copy)]
pub struct BurnTrainer;

impl Trainer for BurnTrainer {
    fn train(
        &mut self,
        plan: &Plan,
        model: &Params,
        data: &Dataset,
        clip_norm: Option<f64>,
        seed: [u8; 32],
    ) -> Result<Trained, TrainError> {
        train(plan, model, data, clip_norm, seed, &Stop::default())
    }
}

/// [`BurnTrainer`]'s, each of which looks before each batch whether it is to go on.
pub fn trainers() -> Trainers {
    Arc::new(|stop| Box::new(StoppableTrainer(stop)))
}

/// [`BurnTrainer`]'s, which ends early where it is asked to.
fn train(
    plan: &Plan,
    model: &Params,
    data: &Dataset,
    clip_norm: Option<f64>,
    seed: [u8; 32],
    stop: &Stop,
) -> Result<Trained, TrainError> {
    check(plan, model, data)?;
    let clip_norm = || clip_norm.ok_or(TrainError::NoClipNorm);
    let promise = match &plan.privacy {
        Privacy::Exact(_) => {
            let metrics = evaluate(plan, model, data)?;
            let trained = local::train(plan, model, data, seed, stop)?;
            let update = LocalUpdate::new(trained.difference(model))?;
            return Ok(Trained::Local { update, rows: data.rows() as u64, metrics });
        }
        Privacy::Private(promise) => promise,
    };
    match &promise.scheme {
        Scheme::DistributedDpSgd { sampling, .. } => {
            let sum = clipped::sum(plan, model, data, clip_norm()?, sampling.rate, seed, stop)?;
            Ok(Trained::ClippedSum(sum))
        }
        Scheme::SiloDpSgd { .. } => {
            let update = noised::train(plan, model, data, seed, stop)?;
            // Nothing of the rows but the noised update: neither how many they are nor how the model does on them.
            Ok(Trained::Local { update, rows: 0, metrics: TrainingMetrics { loss: 0.0, accuracy: 0.0 } })
        }
        Scheme::DistributedDpFedavg { .. } | Scheme::CentralDpFedavg { .. } => {
            let trained = local::train(plan, model, data, seed, stop)?;
            let update = ClippedUpdate::finite_or_nothing(trained.difference(model), clip_norm()?)?;
            Ok(Trained::Clipped(update))
        }
    }
}

/// How `model` does on `data`.
///
/// # Errors
/// [`TrainError`]
pub fn evaluate(plan: &Plan, model: &Params, data: &Dataset) -> Result<TrainingMetrics, TrainError> {
    let (mut loss, mut hits) = (0.0f64, 0usize);
    scores(plan, model, data, |row_loss, hit| {
        loss += row_loss;
        hits += usize::from(hit);
    })?;
    let count = data.rows().max(1) as f64;
    Ok(TrainingMetrics { loss: loss / count, accuracy: hits as f64 / count })
}

/// Visits every row's cross-entropy, and whether its label's logit is the largest.
fn scores(
    plan: &Plan,
    model: &Params,
    data: &Dataset,
    mut visit: impl FnMut(f64, bool),
) -> Result<(), TrainError> {
    check(plan, model, data)?;
    let predictor = Predictor::new(plan, model)?;
    let outputs = plan.architecture().outputs();
    let at_once = predictor.rows_at_once();
    for (features, labels) in
        data.features().chunks(at_once * data.columns()).zip(data.labels().chunks(at_once))
    {
        let logits = predictor.logits(features)?;
        for (label, logits) in labels.iter().zip(logits.chunks_exact(outputs)) {
            // A row that does not fit has no label, and so no loss.
            let (loss, hit) = score(logits, usize::from(*label)).ok_or(TrainError::Classes { outputs })?;
            visit(loss, hit);
        }
    }
    Ok(())
}

/// The cross-entropy of every row of `data`, in nats.
///
/// # Errors
/// [`TrainError`]
///
/// # Privacy
/// Of single records: for the silo itself.
pub fn losses(plan: &Plan, model: &Params, data: &Dataset) -> Result<Vec<f64>, TrainError> {
    let mut losses = Vec::with_capacity(data.rows());
    scores(plan, model, data, |loss, _| losses.push(loss))?;
    Ok(losses)
}

/// The descent direction (negated gradient) of every row by itself, or of every person where the plan's promise is about those, clipped to `clip_norm`, in the order of the layout.
///
/// # Shapes
/// `[rows][parameters]`, or `[persons][parameters]`
///
/// # Errors
/// [`TrainError`]
///
/// # Privacy
/// Of single records: for audits in the silo itself.
pub fn descents(
    plan: &Plan,
    model: &Params,
    data: &Dataset,
    clip_norm: f64,
) -> Result<Vec<Vec<f64>>, TrainError> {
    check(plan, model, data)?;
    clipped::each(plan, model, &clipped::Units::of(plan, data)?, clip_norm)
}

/// The sum of [`descents`], without forming each.
///
/// # Errors
/// [`TrainError`]
///
/// # Privacy
/// As [`descents`]: nothing hides a record in it.
pub fn descent_sum(
    plan: &Plan,
    model: &Params,
    data: &Dataset,
    clip_norm: f64,
) -> Result<Vec<f64>, TrainError> {
    check(plan, model, data)?;
    let units = clipped::Units::of(plan, data)?;
    let all: Vec<usize> = (0..units.len()).collect();
    clipped::of(plan, model, &units, &all, clip_norm, &Stop::default()).map(|(sum, _)| sum)
}

/// Cross-entropy of one row, and whether its label's logit is the largest; `None` for a label without a logit.
fn score(logits: &[f32], label: usize) -> Option<(f64, bool)> {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|logit| f64::from(logit - largest).exp()).sum();
    let own = *logits.get(label)?;
    let first = logits.iter().position(|logit| *logit == largest);
    Some((sum.ln() - f64::from(own - largest), first == Some(label)))
}

/// The plan's architecture, of which the model has the layers and finite parameters.
fn architecture_of(plan: &Plan, model: &Params) -> Result<Architecture, TrainError> {
    let architecture = plan.architecture();
    architecture.validate()?;
    if *model.layout() != architecture.layout() {
        return Err(TrainError::Layout);
    }
    if !model.is_finite() {
        return Err(TrainError::Model);
    }
    Ok(architecture)
}

fn check(plan: &Plan, model: &Params, data: &Dataset) -> Result<(), TrainError> {
    let architecture = architecture_of(plan, model)?;
    if data.columns() != architecture.input.values() {
        return Err(TrainError::Columns { columns: data.columns(), inputs: architecture.input.values() });
    }
    let beyond = |label: &u16| usize::from(*label) >= architecture.outputs();
    if (0..).zip(data.labels()).any(|(row, label)| beyond(label) && data.fits(row)) {
        return Err(TrainError::Classes { outputs: architecture.outputs() });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
