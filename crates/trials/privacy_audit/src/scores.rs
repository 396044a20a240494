//! Who was in? A score for each canary from what every member of a run is given: each round's model and aggregate.

use std::collections::VecDeque;

use datasets::Dataset;
use params::Params;
use plan::{Plan, Scheme};

use crate::error::AuditError;

/// What a member saw of one round.
pub(crate) struct Seen<'a> {
    /// The model that was trained on.
    pub(crate) before: &'a Params,
    /// What contributions were clipped to; `None` in the mode without noise.
    pub(crate) clip_norm: Option<f64>,
    /// What the server stepped by.
    pub(crate) aggregate: &'a [f32],
}

/// Scores, added up round by round.
pub(crate) struct Scores<'a> {
    plan: &'a Plan,
    canaries: Dataset,
    /// Records that the attacker knows to be in the training.
    known: Option<&'a Dataset>,
    pub(crate) scores: Vec<f64>,
}

impl<'a> Scores<'a> {
    /// # Errors
    /// More canaries than gradients fit in memory.
    pub(crate) fn new(
        plan: &'a Plan,
        canaries: Dataset,
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

    /// What the run was of.
    pub(crate) fn plan(&self) -> &'a Plan {
        self.plan
    }

    /// Takes a round into account.
    ///
    /// In distributed DP-SGD the aggregate is the sum of the batch's clipped gradients and the noise, so that the known
    /// records' part can be taken off and the canaries' parts be separated by least squares: the strongest attack that
    /// we know of. What is counted beside a clip norm that moves is left out. In the other modes the update's direction is
    /// held against each canary's.
    pub(crate) fn see(&mut self, round: &Seen<'_>) -> Result<(), AuditError> {
        let scheme = self.plan.privacy.promise().map(|promise| &promise.scheme);
        let (clip_norm, exact) = match (scheme, round.clip_norm) {
            (Some(Scheme::DistributedDpSgd { sampling, .. }), Some(clip_norm)) => (clip_norm, Some(sampling)),
            _ => (1.0, None),
        };
        let descents = train::descents(self.plan, round.before, &self.canaries, clip_norm)?;
        let mut rest: Vec<f64> = round.aggregate.iter().map(|value| f64::from(*value)).collect();
        if let Some(sampling) = exact {
            rest.iter_mut().for_each(|value| *value *= sampling.divisor);
            if let Some(known) = self.known {
                let known = train::descent_sum(self.plan, round.before, known, clip_norm)?;
                rest.iter_mut().zip(known).for_each(|(rest, known)| *rest -= sampling.rate * known);
            }
        }
        let matched: Vec<f64> = descents.iter().map(|descent| dot(&rest, descent)).collect();
        let found = match exact {
            Some(_) => least_squares(&descents, &matched),
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

/// An equation of a linear system.
struct Equation {
    /// Of the unknowns that are left, last unknown first.
    coefficients: Vec<f64>,
    product: f64,
}

/// Coefficients b that bring `Σ b_i d_i` closest to what gave these products with every d, with a ridge that keeps
/// parallel directions apart.
///
/// # Shapes
/// As many products as directions; as many coefficients.
fn least_squares(directions: &[Vec<f64>], products: &[f64]) -> Vec<f64> {
    const RIDGE: f64 = 1e-3;
    let squares: f64 = directions.iter().map(|direction| dot(direction, direction)).sum();
    let ridge = RIDGE * (squares / directions.len().max(1) as f64) + f64::MIN_POSITIVE;
    let equation = |(i, (a, product)): (usize, (&Vec<f64>, &f64))| {
        let of_one = |(j, b): (usize, &Vec<f64>)| if i == j { dot(a, b) + ridge } else { dot(a, b) };
        Equation {
            coefficients: directions.iter().enumerate().rev().map(of_one).collect(),
            product: *product,
        }
    };
    solution(directions.iter().zip(products).enumerate().map(equation).collect())
}

/// Gaussian elimination of a square system; one with a ridge needs no pivoting.
fn solution(mut open: VecDeque<Equation>) -> Vec<f64> {
    let mut eliminated = Vec::with_capacity(open.len());
    while let Some(mut pivot) = open.pop_front() {
        let Some(diagonal) = pivot.coefficients.pop() else { break };
        for equation in &mut open {
            let Some(first) = equation.coefficients.pop() else { break };
            let factor = first / diagonal;
            let behind = equation.coefficients.iter_mut().zip(&pivot.coefficients);
            behind.for_each(|(a, b)| *a -= factor * b);
            equation.product -= factor * pivot.product;
        }
        eliminated.push((diagonal, pivot));
    }
    // Last unknown first, as in the equations.
    let mut found: Vec<f64> = Vec::with_capacity(eliminated.len());
    for (diagonal, Equation { coefficients, product }) in eliminated.into_iter().rev() {
        let known: f64 = coefficients.iter().zip(&found).rev().map(|(a, b)| a * b).sum();
        found.push((product - known) / diagonal);
    }
    found.reverse();
    found
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
        let products: Vec<f64> = directions.iter().map(|d| dot(&sum, d)).collect();
        for (found, wanted) in least_squares(&directions, &products).into_iter().zip(wanted) {
            assert!((found - wanted).abs() < 0.05, "{found} {wanted}");
        }
    }
}
