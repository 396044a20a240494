//! Who was in? A score for each canary from what every member of a run is told: each round's model and aggregate.

use datasets::Dataset;
use params::Params;
use plan::{Plan, Privacy};

use super::AuditError;

/// What a member saw of one round.
pub(super) struct Seen<'a> {
    /// The model that was trained on.
    pub(super) before: &'a Params,
    /// What contributions were clipped to; `None` in the mode without noise.
    pub(super) clip_norm: Option<f64>,
    /// What the server stepped by.
    pub(super) aggregate: &'a [f32],
}

/// Scores, added up round by round.
pub(super) struct Scores<'a> {
    plan: &'a Plan,
    canaries: &'a Dataset,
    /// Records that the attacker knows to be in the training.
    known: Option<&'a Dataset>,
    pub(super) scores: Vec<f64>,
}

impl<'a> Scores<'a> {
    /// # Errors
    /// More canaries than gradients fit in memory.
    pub(super) fn new(
        plan: &'a Plan,
        canaries: &'a Dataset,
        known: Option<&'a Dataset>,
    ) -> Result<Self, AuditError> {
        /// In f64: 4 GiB.
        const VALUES_MAX: usize = 1 << 29;
        let (rows, parameters) = (canaries.rows(), plan.architecture().parameter_count());
        let fit = VALUES_MAX / (parameters + rows).max(1);
        if rows > fit {
            return Err(AuditError::TooMany { rows, parameters, fit });
        }
        Ok(Self { plan, canaries, known, scores: vec![0.0; rows] })
    }

    /// Takes a round into account.
    ///
    /// In distributed DP-SGD the aggregate is the sum of the batch's clipped gradients and the noise, so that the known
    /// records' part can be taken off and the canaries' parts be told apart by least squares: the strongest attack that
    /// we know of. What is counted beside a clip norm that moves is left out. In the other modes the update's direction is
    /// held against each canary's.
    pub(super) fn see(&mut self, round: &Seen<'_>) -> Result<(), AuditError> {
        let (clip_norm, exact) = match (&self.plan.privacy, round.clip_norm) {
            (Privacy::DistributedDpSgd { sampling_rate, divisor, .. }, Some(clip_norm)) => {
                (clip_norm, Some((*sampling_rate, *divisor)))
            }
            _ => (1.0, None),
        };
        let descents = train::descents(self.plan, round.before, self.canaries, clip_norm)?;
        let mut rest: Vec<f64> = round.aggregate.iter().map(|value| f64::from(*value)).collect();
        if let Some((sampling_rate, divisor)) = exact {
            rest.iter_mut().for_each(|value| *value *= divisor);
            if let Some(known) = self.known {
                let known = train::descent_sum(self.plan, round.before, known, clip_norm);
                let known = known?;
                rest.iter_mut().zip(known).for_each(|(rest, known)| *rest -= sampling_rate * known);
            }
        }
        let matched: Vec<f64> = descents.iter().map(|descent| dot(&rest, descent)).collect();
        let found = match exact {
            Some(_) => least_squares(&descents, matched),
            None => matched
                .iter()
                .zip(&descents)
                .map(|(m, d)| m / dot(d, d).sqrt().max(f64::MIN_POSITIVE))
                .collect(),
        };
        self.scores.iter_mut().zip(found).for_each(|(score, found)| *score += found);
        Ok(())
    }
}

/// Coefficients b that bring `Σ b_i d_i` closest to what gave these products with every d, with a ridge that keeps
/// parallel directions apart.
fn least_squares(directions: &[Vec<f64>], mut products: Vec<f64>) -> Vec<f64> {
    const RIDGE: f64 = 1e-3;
    let mut gram: Vec<Vec<f64>> =
        directions.iter().map(|a| directions.iter().map(|b| dot(a, b)).collect()).collect();
    let mean =
        gram.iter().enumerate().filter_map(|(i, row)| row.get(i)).sum::<f64>() / gram.len().max(1) as f64;
    for (i, row) in gram.iter_mut().enumerate() {
        row.iter_mut().skip(i).take(1).for_each(|diagonal| *diagonal += RIDGE * mean + f64::MIN_POSITIVE);
    }
    // Gaussian elimination; a matrix with a ridge needs no pivoting.
    for i in 0..gram.len() {
        let (above, below) = gram.split_at_mut(i + 1);
        let (done, todo) = products.split_at_mut(i + 1);
        let (Some(pivot_row), Some(pivot)) = (above.last(), done.last()) else { break };
        for (row, product) in below.iter_mut().zip(todo) {
            let factor = row.get(i).zip(pivot_row.get(i)).map_or(0.0, |(a, b)| a / b);
            row.iter_mut().zip(pivot_row).for_each(|(a, b)| *a -= factor * b);
            *product -= factor * *pivot;
        }
    }
    for i in (0..gram.len()).rev() {
        let known: f64 = match (gram.get(i), products.get(i + 1..)) {
            (Some(row), Some(behind)) => row.iter().skip(i + 1).zip(behind).map(|(a, b)| a * b).sum(),
            _ => 0.0,
        };
        let diagonal = gram.get(i).and_then(|row| row.get(i)).copied().unwrap_or(1.0);
        products.iter_mut().skip(i).take(1).for_each(|product| *product = (*product - known) / diagonal);
    }
    products
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn least_squares_finds_the_coefficients_of_directions_that_are_not_orthogonal() {
        let directions = vec![vec![1.0, 0.0, 0.0], vec![0.8, 0.6, 0.0], vec![0.5, 0.5, 0.7]];
        let wanted = [1.0, 0.0, 1.0];
        let sum: Vec<f64> =
            (0..3).map(|k| directions.iter().zip(wanted).map(|(d, w)| d[k] * w).sum()).collect();
        let products = directions.iter().map(|d| dot(&sum, d)).collect();
        for (found, wanted) in least_squares(&directions, products).into_iter().zip(wanted) {
            assert!((found - wanted).abs() < 0.05, "{found} {wanted}");
        }
    }
}
