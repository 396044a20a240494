//! The one-run audit: many canaries, each in the training by the toss of a coin, guessed from what was published.

use crate::binomial::masses;

/// What the auditor guessed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Guesses {
    /// Canaries, each included with probability one half, independently.
    pub canaries: u64,
    /// How many of them were guessed about; the rest are abstentions.
    pub guesses: u64,
    pub correct: u64,
}

impl std::ops::AddAssign for Guesses {
    /// Guesses of an independent run count like more canaries of one run.
    fn add_assign(&mut self, other: Self) {
        self.canaries += other.canaries;
        self.guesses += other.guesses;
        self.correct += other.correct;
    }
}

/// Guesses "in" of the highest scores and "out" of the lowest, `each` of either.
///
/// How many must be decided before the scores are seen: choosing it by the result would void the bound.
///
/// # Shapes
/// `scores`, `included`: one a canary.
pub fn guess(scores: &[f64], included: &[bool], each: usize) -> Guesses {
    let mut ranked: Vec<(f64, bool)> = scores.iter().copied().zip(included.iter().copied()).collect();
    ranked.sort_by(|a, b| a.0.total_cmp(&b.0));
    let each = each.min(ranked.len() / 2);
    let low = ranked.iter().take(each).filter(|(_, included)| !included).count();
    let high = ranked.iter().rev().take(each).filter(|(_, included)| *included).count();
    Guesses { canaries: ranked.len() as u64, guesses: 2 * each as u64, correct: (low + high) as u64 }
}

/// The largest epsilon that the guesses contradict at this confidence; 0 where they contradict none.
///
/// # Paper
/// Steinke, Nasr, Jagielski 2023: the p-value for approximate DP, as the program in their appendix computes it.
pub fn epsilon_lower_bound(guesses: &Guesses, delta: f64, confidence: f64) -> f64 {
    const EPSILON_MAX: f64 = 64.0;
    const HALVINGS: usize = 50;
    let contradicted = |epsilon: f64| p_value(guesses, epsilon, delta) < 1.0 - confidence;
    if !contradicted(0.0) {
        return 0.0;
    }
    let (mut low, mut high) = (0.0, 1.0);
    while contradicted(high) && high < EPSILON_MAX {
        (low, high) = (high, 2.0 * high);
    }
    for _ in 0..HALVINGS {
        let middle = 0.5 * (low + high);
        if contradicted(middle) {
            low = middle;
        } else {
            high = middle;
        }
    }
    low
}

/// The largest bound that so many guesses can give: all of them right. No audit of this size contradicts a larger claim.
pub fn epsilon_bound_attainable(guesses: &Guesses, delta: f64, confidence: f64) -> f64 {
    epsilon_lower_bound(&Guesses { correct: guesses.guesses, ..*guesses }, delta, confidence)
}

/// The fewest canaries, a half of them guessed about, with which an audit can contradict this epsilon; `None` where no
/// number up to 2^20 does, because delta for each canary allows as much.
pub fn canaries_to_contradict(epsilon: f64, delta: f64, confidence: f64) -> Option<u64> {
    let contradicts = |canaries: u64| {
        let guesses = canaries / 2;
        p_value(&Guesses { canaries, guesses, correct: guesses }, epsilon, delta) < 1.0 - confidence
    };
    // Up in powers of two, then down to the edge: delta only takes away beyond it.
    let enough = (3..=20).map(|power| 1u64 << power).find(|canaries| contradicts(*canaries))?;
    let (mut few, mut enough) = (enough / 2, enough);
    while enough - few > 1 {
        let middle = few + (enough - few) / 2;
        if contradicts(middle) { enough = middle } else { few = middle }
    }
    Some(enough)
}

/// How likely so many right guesses are, at most, if (epsilon, delta) holds.
pub fn p_value(guesses: &Guesses, epsilon: f64, delta: f64) -> f64 {
    let Guesses { canaries, guesses: trials, correct } = *guesses;
    // The accuracy of randomised response.
    let masses = masses(trials, 1.0 / (1.0 + (-epsilon).exp()));
    let correct = usize::try_from(correct).unwrap_or(usize::MAX).min(masses.len().saturating_sub(1));
    let (below, above) = masses.split_at(correct);
    let tail: f64 = above.iter().rev().sum();
    // The most that an event of probability delta for each canary can move.
    let mut within = 0.0;
    let mut steepest = 0.0f64;
    for (distance, mass) in below.iter().rev().enumerate() {
        within += mass;
        steepest = steepest.max(within / (distance + 1) as f64);
    }
    (tail + steepest * delta * 2.0 * canaries as f64).min(1.0)
}

#[cfg(test)]
mod tests {
    use chacha20::ChaCha20Rng;
    use chacha20::rand_core::{Rng, SeedableRng};

    use super::*;

    #[test]
    fn all_right_is_the_closed_form() {
        // Without delta, all of r right has probability q^r: epsilon is the logit of 0.05^(1/r).
        for r in [10u64, 100, 1_000] {
            let perfect = Guesses { canaries: r, guesses: r, correct: r };
            let q = 0.05f64.powf(1.0 / r as f64);
            let bound = epsilon_lower_bound(&perfect, 0.0, 0.95);
            assert!((bound - (q / (1.0 - q)).ln()).abs() < 1e-6, "{r}: {bound}");
        }
    }

    #[test]
    fn guessing_like_a_coin_contradicts_nothing() {
        let coin = Guesses { canaries: 1_000, guesses: 1_000, correct: 510 };
        assert_eq!(epsilon_lower_bound(&coin, 1e-5, 0.95), 0.0);
        assert_eq!(epsilon_lower_bound(&Guesses { canaries: 9, guesses: 0, correct: 0 }, 1e-5, 0.95), 0.0);
    }

    #[test]
    fn delta_and_confidence_lower_the_bound_and_right_guesses_raise_it() {
        let guesses = |correct| Guesses { canaries: 1_000, guesses: 500, correct };
        let bound = |correct, delta, confidence| epsilon_lower_bound(&guesses(correct), delta, confidence);
        assert!(bound(470, 0.0, 0.95) > bound(470, 1e-5, 0.95));
        assert!(bound(470, 1e-5, 0.95) > bound(470, 1e-5, 0.99));
        assert!(bound(480, 1e-5, 0.95) > bound(470, 1e-5, 0.95));
        assert_eq!(bound(500, 0.5, 0.95), 0.0, "a delta of one half allows anything");
    }

    #[test]
    fn the_bound_covers_randomised_response_at_its_confidence_and_comes_close() {
        // Randomised response at epsilon 2 is the worst there is: the bound may exceed 2 in 5 of 100 audits.
        let (epsilon, audits, guesses) = (2.0f64, 400, 500);
        let threshold = (1.0 / (1.0 + (-epsilon).exp()) * 2f64.powi(64)) as u64;
        let mut rng = ChaCha20Rng::from_seed([4; 32]);
        let (mut exceeded, mut sum) = (0, 0.0);
        for _ in 0..audits {
            let correct = (0..guesses).filter(|_| rng.next_u64() < threshold).count() as u64;
            let bound = epsilon_lower_bound(&Guesses { canaries: guesses, guesses, correct }, 0.0, 0.95);
            exceeded += usize::from(bound > epsilon);
            sum += bound;
        }
        // 20 are expected; more than 42 has a probability below 1e-6.
        assert!(exceeded <= 42, "{exceeded} of {audits}");
        assert!(sum / f64::from(audits) > 1.6, "{}", sum / f64::from(audits));
    }

    #[test]
    fn a_bound_has_a_ceiling_and_enough_canaries_raise_it_above_a_claim() {
        for (epsilon, delta) in [(1.0, 1e-5), (4.9, 1e-5), (4.9, 0.0), (8.0, 0.0)] {
            let canaries = canaries_to_contradict(epsilon, delta, 0.95).unwrap();
            let ceiling = |canaries| {
                let all = Guesses { canaries, guesses: canaries / 2, correct: 0 };
                epsilon_bound_attainable(&all, delta, 0.95)
            };
            assert!(ceiling(canaries) > epsilon && ceiling(canaries - 2) <= epsilon, "{epsilon}: {canaries}");
        }
        // All of r right has probability q^r, q the logistic of 4.9.
        let r = (0.05f64.ln() / -(-4.9f64).exp().ln_1p()).ceil() as u64;
        assert_eq!(canaries_to_contradict(4.9, 0.0, 0.95), Some(2 * r));
        assert_eq!(canaries_to_contradict(50.0, 1e-5, 0.95), None);
    }

    #[test]
    fn the_highest_scores_are_guessed_in_and_the_lowest_out() {
        let scores = [0.1, 0.9, 0.5, 0.2, 0.8, 0.55];
        let included = [false, true, true, true, true, false];
        let guesses = guess(&scores, &included, 2);
        assert_eq!(guesses, Guesses { canaries: 6, guesses: 4, correct: 3 });
        assert_eq!(guess(&scores, &included, 99).guesses, 6, "never more than there are");
    }
}
