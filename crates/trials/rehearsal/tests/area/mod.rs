//! How well a model that silos train together tells two classes apart.

use datasets::Dataset;
use plan::Plan;
use rehearsal::{NoiseLevel, Rehearsal};
use train::Predictor;

/// The area under the receiver operating characteristic of the model that these silos train.
pub(crate) fn area(plan: &Plan, silos: &[Dataset], held_out: &Dataset) -> f64 {
    let model = Rehearsal::new(plan, silos, NoiseLevel::AsPlanned, [1; 32]).and_then(Rehearsal::run).unwrap();
    let said = Predictor::new(plan, &model).unwrap().predict(held_out.features()).unwrap();
    let mut scores: Vec<(f64, bool)> =
        said.iter().zip(held_out.labels()).map(|(row, label)| (row.probabilities[1], *label == 1)).collect();
    scores.sort_by(|one, other| one.0.total_cmp(&other.0));
    // The sum of the positives' ranks, of which equals share theirs.
    let (mut before, mut ranks, mut positives) = (0.0, 0.0, 0.0);
    for equals in scores.chunk_by(|one, other| one.0 == other.0) {
        let of_these = equals.iter().filter(|(_, positive)| *positive).count() as f64;
        ranks += of_these * (before + (equals.len() as f64 + 1.0) / 2.0);
        before += equals.len() as f64;
        positives += of_these;
    }
    (ranks - positives * (positives + 1.0) / 2.0) / (positives * (before - positives))
}
