//! The one inequality, 2t > n + c, and the floors that a plan sets under a cohort.

use crate::excess::ExcessNoise;

/// The largest cohort: shares sit at the non-zero points of GF(2^8).
pub const COHORT_MAX: usize = 255;

/// How many shares open a secret, and how many signatures make an included set final.
///
/// At most `corrupt` of the `n` holders are corrupt and an honest holder opens, for each peer, one of its
/// two secrets. Both could be opened only if `2(t - c) <= n - c`, so the smallest safe value is
/// `t = floor((n + c) / 2) + 1`. The same inequality makes a quorum of `t` signatures unique.
///
/// # Paper
/// Bonawitz et al. 2017, section 6.2 (the malicious server), with the corruption bound kept apart from `t`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Threshold {
    holders: usize,
    corrupt: usize,
}

/// Why no threshold exists for a cohort.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ThresholdError {
    /// Any member can subtract its own update from the sum, so nobody may be presumed alone.
    #[error("at least one corrupt member must be allowed for, the plan says none")]
    CorruptNone,
    /// With two members the sum tells each the other's update.
    #[error("{0} members are too few for secure aggregation, at least 3 are needed")]
    TooSmall(usize),
    /// More members than points of the field.
    #[error("{0} members are too many for one complete graph, at most {COHORT_MAX} fit")]
    TooLarge(usize),
    /// No threshold at most `n` protects against that many corrupt members.
    #[error("{corrupt} corrupt of {holders} members leave no safe threshold")]
    Infeasible {
        /// Members of the cohort.
        holders: usize,
        /// Corrupt members to tolerate.
        corrupt: usize,
    },
}

impl Threshold {
    /// The threshold for `n` share holders of which at most `c` are corrupt.
    ///
    /// # Errors
    /// [`ThresholdError`], when `c < 1`, `n < 3`, `n > 255` or no `t <= n` is safe.
    pub fn new(n: usize, c: usize) -> Result<Self, ThresholdError> {
        if c == 0 {
            return Err(ThresholdError::CorruptNone);
        }
        if n < 3 {
            return Err(ThresholdError::TooSmall(n));
        }
        if n > COHORT_MAX {
            return Err(ThresholdError::TooLarge(n));
        }
        if c >= n {
            return Err(ThresholdError::Infeasible { holders: n, corrupt: c });
        }
        Ok(Self { holders: n, corrupt: c })
    }

    /// `t`: shares needed to open a secret, and signatures needed to fix an included set.
    pub fn value(self) -> usize {
        (self.holders + self.corrupt) / 2 + 1
    }

    /// `t - c`: honest members in any sum that can be opened.
    pub fn honest_in_any_sum(self) -> usize {
        self.value() - self.corrupt
    }

    /// `n - t`: members that may fall silent or lie after sharing their keys.
    pub fn dropouts_tolerated(self) -> usize {
        self.holders - self.value()
    }
}

/// What a plan demands of every cohort; every client checks it for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Floors {
    /// Fewest members of a cohort, and of an included set.
    pub cohort_min: usize,
    /// Most members of a cohort: the ring has room for their sum, and the noise's shares are fine enough to be drawn.
    pub cohort_max: usize,
    /// Fewest honest members in any sum that can be opened.
    pub honest_min: usize,
    /// Corrupt members of the whole pinned roster that must be tolerated.
    pub corrupt: usize,
    /// What becomes of noise that the sum of an included set has too much of.
    pub excess_noise: ExcessNoise,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_table_holds() {
        for (n, c, t, dropouts, honest) in [
            (3, 1, 3, 0, 2),
            (4, 1, 3, 1, 2),
            (5, 1, 4, 1, 3),
            (7, 2, 5, 2, 3),
            (10, 3, 7, 3, 4),
            (12, 3, 8, 4, 5),
            (20, 6, 14, 6, 8),
            (50, 16, 34, 16, 18),
            (100, 24, 63, 37, 39),
            (100, 33, 67, 33, 34),
        ] {
            let threshold = Threshold::new(n, c).unwrap();
            assert_eq!(
                (threshold.value(), threshold.dropouts_tolerated(), threshold.honest_in_any_sum()),
                (t, dropouts, honest),
                "n = {n}, c = {c}"
            );
        }
    }

    #[test]
    fn every_threshold_is_the_least_safe_one_and_tolerates_exactly_the_feasible_dropouts() {
        for n in 3..=COHORT_MAX {
            for c in 1..n {
                let threshold = Threshold::new(n, c).unwrap();
                let t = threshold.value();
                assert!(2 * t > n + c && 2 * (t - 1) <= n + c && t <= n, "n = {n}, c = {c}");
                let feasible = (0..n).filter(|dropouts| c + 2 * dropouts < n).max().unwrap();
                assert_eq!(threshold.dropouts_tolerated(), feasible, "n = {n}, c = {c}");
            }
        }
    }

    #[test]
    fn cohorts_without_a_safe_threshold_are_refused() {
        assert_eq!(Threshold::new(5, 0), Err(ThresholdError::CorruptNone));
        assert_eq!(Threshold::new(2, 1), Err(ThresholdError::TooSmall(2)));
        assert_eq!(Threshold::new(256, 1), Err(ThresholdError::TooLarge(256)));
        assert_eq!(Threshold::new(4, 4), Err(ThresholdError::Infeasible { holders: 4, corrupt: 4 }));
    }
}
