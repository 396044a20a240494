//! What a plan alone tells of every version that is trained under it.

use params::Shape;
use plan::{ModelKind, Plan, Promise};

use crate::{Card, Usage};

/// The fields that [`Card::add_plan`] fills, but for [`Card::usage`].
pub(crate) const PLANNED: [&str; 18] = [
    "lineage.begun_with",
    "model.parameters",
    "model.task",
    "model.architecture",
    "model.layers",
    "model.inputs",
    "model.outputs",
    "training_data.label",
    "training_data.features",
    "privacy.epsilon_budget",
    "privacy.clip_norm",
    "privacy.clip_norm_quantile",
    "privacy.noise_multiplier",
    "privacy.sampling_rate",
    "secure_aggregation.cohort_min",
    "secure_aggregation.honest_min",
    "secure_aggregation.corrupt_max",
    "secure_aggregation.excess_noise_removed",
];

impl Card {
    pub(crate) fn add_plan(&mut self, plan: &Plan) {
        let architecture = plan.architecture();
        let model = &mut self.model;
        model.parameters = architecture.parameter_count() as u64;
        model.task = match architecture.input {
            Shape::Image { .. } => "image-classification",
            Shape::Tokens { .. } => "text-classification",
            Shape::Vector { .. } | Shape::Positions { .. } => "tabular-classification",
        }
        .into();
        model.architecture = ModelKind::of(plan).name().to_owned();
        model.layers = architecture.layers.iter().map(|layer| layer.name().to_owned()).collect();
        model.inputs = architecture.input.values() as u64;
        model.outputs = architecture.outputs() as u64;
        self.lineage.begun_with = plan.parent.map(|parent| {
            let before = match parent.rounds_before {
                0 => String::new(),
                rounds => format!(", which had gone on from runs of {rounds} rounds before it"),
            };
            format!(
                "model {} of round {} of run {}{before}; what that run learned of its silos and spent is in this model too, and is not counted \
                 here",
                parent.model, parent.round, parent.run
            )
        });
        self.usage = Some(Usage::of(plan));
        self.training_data.label = plan.data.label.clone();
        self.training_data.features = plan.data.column_count() as u64;
        let privacy = &mut self.privacy;
        privacy.epsilon_budget = plan.budget().map(|(epsilon, _)| epsilon);
        privacy.clip_norm = plan.clip_norm();
        privacy.clip_norm_quantile = plan.adaptive_clipping().map(|adaptive| adaptive.target_quantile);
        let promise = plan.privacy.promise();
        privacy.noise_multiplier = promise.map(|promise| promise.noise_multiplier);
        privacy.sampling_rate = promise.and_then(Promise::sampling).map(|sampling| sampling.rate);
        let sums = &mut self.secure_aggregation;
        sums.cohort_min = plan.cohort.minimum as u64;
        sums.honest_min = plan.cohort.honest_min as u64;
        sums.corrupt_max = plan.cohort.corrupt as u64;
        sums.excess_noise_removed = plan.excess_noise().is_removed();
    }
}
