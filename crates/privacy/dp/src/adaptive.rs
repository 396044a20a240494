//! Clipping to a norm that follows a quantile of the norms there are.

/// How the clip norm follows the units' norms, and what knowing them costs.
///
/// Contributions are divided by the round's clip norm C, so that a unit's part of the sum has a norm of at most 1, and one
/// more coordinate counts who was within C: `w(b − 1/2)` with `b = 1` for a unit of norm at most C and 0 otherwise. Both
/// are released as one vector under one noise, whose sensitivity is that of the two together, `√(1 + w²/4)`.
///
/// # Privacy
/// One Gaussian release: the plan's noise multiplier is over the joint sensitivity, so that an upload costs the same event
/// whatever C is. Of the squared sensitivity, `w²/4 / (1 + w²/4)` is the count's: its *share*.
///
/// # Paper
/// Andrew, Thakkar, McMahan, Ramaswamy 2021, algorithm 1. Deviations: the norm steps by
/// `1 − η(b̄ − γ)` within [1/2, 2] instead of `exp(−η(b̄ − γ))`, so that all machines compute the same bits, and stays
/// within `2^±10` of its start; the count is a coordinate of the one vector instead of a second Gaussian release, which
/// is the same trade of noise between the two.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdaptiveClip {
    initial: f64,
    target_quantile: f64,
    learning_rate: f64,
    bit_weight: f64,
    joint_norm: f64,
}

/// Steps by the largest factor, which is 2, that lead as far as the clip norm ever goes.
const STEPS_TO_REACH: u64 = 10;
/// The clip norm stays within this factor of its start, either way.
const REACH: f64 = (1 << STEPS_TO_REACH) as f64;

/// Why clipping cannot follow a quantile.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum AdaptiveClipError {
    #[error("target_quantile {0} must lie between 0 and 1; usual is 0.5")]
    TargetQuantile(f64),
    #[error("learning_rate {0} must be above 0 and at most 1; usual is 0.2")]
    LearningRate(f64),
    /// No share, or most of the noise for a single number.
    #[error("share {0} must be above 0 and at most 0.5; usual is 0.01 to 0.1")]
    Share(f64),
}

impl AdaptiveClip {
    /// Starting from the clip norm `initial`, a positive number.
    ///
    /// # Errors
    /// [`AdaptiveClipError`]
    pub fn new(
        initial: f64,
        target_quantile: f64,
        learning_rate: f64,
        share: f64,
    ) -> Result<Self, AdaptiveClipError> {
        if !(target_quantile > 0.0 && target_quantile < 1.0) {
            return Err(AdaptiveClipError::TargetQuantile(target_quantile));
        }
        if !(learning_rate > 0.0 && learning_rate <= 1.0) {
            return Err(AdaptiveClipError::LearningRate(learning_rate));
        }
        if !(share > 0.0 && share <= 0.5) {
            return Err(AdaptiveClipError::Share(share));
        }
        let bit_weight = 2.0 * (share / (1.0 - share)).sqrt();
        // A little more than the root, whatever its operations rounded down.
        let joint_norm = (1.0 + bit_weight * bit_weight / 4.0).sqrt() * (1.0 + 8.0 * f64::EPSILON);
        Ok(Self { initial, target_quantile, learning_rate, bit_weight, joint_norm })
    }

    /// Whether a clip norm is one that steps from the first one can lead to.
    ///
    /// # Privacy
    /// Far beyond, dividing by it would round by more than the clipping's margin.
    pub fn reaches(&self, clip_norm: f64) -> bool {
        self.reaches_within(clip_norm, STEPS_TO_REACH)
    }

    /// Whether a clip norm is one that so many steps from the first one, or fewer, can lead to, whatever sums they were made by.
    pub fn reaches_within(&self, clip_norm: f64, steps: u64) -> bool {
        let factor = (1_u64 << steps.min(STEPS_TO_REACH)) as f64;
        (self.initial / factor..=self.initial * factor).contains(&clip_norm)
    }

    /// The clip norm of the first round.
    pub fn initial(&self) -> f64 {
        self.initial
    }

    /// `√(1 + w²/4)`: what a unit's part of the sum has as its largest norm, in units of the clip norm.
    pub fn joint_norm(&self) -> f64 {
        self.joint_norm
    }

    /// Half of `w`: what a unit adds to the counting coordinate, or takes off it.
    pub fn half_weight(&self) -> f64 {
        self.bit_weight / 2.0
    }

    /// The share of units within the clip norm that a noised counting coordinate tells, of about `units`.
    ///
    /// Noise can lead outside of [0, 1].
    pub fn share_within(&self, coordinate: f64, units: f64) -> f64 {
        0.5 + coordinate / (self.bit_weight * units)
    }

    /// The clip norm after one at which `share_within` of the units were within.
    pub fn next(&self, clip_norm: f64, share_within: f64) -> f64 {
        let factor = 1.0 - self.learning_rate * (share_within - self.target_quantile);
        (clip_norm * factor.clamp(0.5, 2.0)).clamp(self.initial / REACH, self.initial * REACH)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clip(initial: f64) -> AdaptiveClip {
        AdaptiveClip::new(initial, 0.5, 0.2, 0.05).unwrap()
    }

    #[test]
    fn the_share_is_the_counts_part_of_the_squared_sensitivity() {
        for share in [0.01, 0.05, 0.5] {
            let clip = AdaptiveClip::new(1.0, 0.5, 0.2, share).unwrap();
            let count = clip.half_weight().powi(2);
            assert!((count / (1.0 + count) - share).abs() < 1e-12);
            assert!(clip.joint_norm().powi(2) >= 1.0 + count);
            assert!(clip.joint_norm().powi(2) < (1.0 + count) * (1.0 + 1e-12));
        }
    }

    #[test]
    fn numbers_that_steer_nothing_are_refused() {
        for bad in [0.0, 1.0, f64::NAN] {
            assert!(matches!(
                AdaptiveClip::new(1.0, bad, 0.2, 0.05),
                Err(AdaptiveClipError::TargetQuantile(_))
            ));
        }
        for bad in [0.0, 1.1, f64::NAN] {
            assert!(matches!(
                AdaptiveClip::new(1.0, 0.5, bad, 0.05),
                Err(AdaptiveClipError::LearningRate(_))
            ));
        }
        for bad in [0.0, 0.51, f64::NAN] {
            assert!(matches!(AdaptiveClip::new(1.0, 0.5, 0.2, bad), Err(AdaptiveClipError::Share(_))));
        }
    }

    #[test]
    fn the_clip_norm_finds_the_quantile_from_far_above_and_far_below() {
        // Norms 1 to 1000: the quantile q is 1000 q.
        for (initial, quantile) in [(30_000.0, 0.5), (30.0, 0.5), (1000.0, 0.9), (1000.0, 0.1)] {
            let clip = AdaptiveClip::new(initial, quantile, 0.2, 0.05).unwrap();
            let mut norm = clip.initial();
            for _ in 0..200 {
                let within = (1..=1000).filter(|unit| f64::from(*unit) <= norm).count() as f64;
                let coordinate = clip.half_weight() * (2.0 * within - 1000.0);
                norm = clip.next(norm, clip.share_within(coordinate, 1000.0));
            }
            assert!((norm / (1000.0 * quantile) - 1.0).abs() < 0.02, "{initial} {quantile}: {norm}");
        }
    }

    #[test]
    fn no_noise_moves_the_clip_norm_beyond_its_bounds() {
        let clip = clip(2.0);
        assert_eq!(clip.next(2.0, 1e300), 1.0);
        assert_eq!(clip.next(2.0, -1e300), 4.0);
        let (mut low, mut high) = (2.0, 2.0);
        for _ in 0..100 {
            (low, high) = (clip.next(low, f64::MAX), clip.next(high, f64::MIN));
        }
        assert_eq!((low, high), (2.0 / 1024.0, 2048.0));
        assert!(clip.reaches(low) && clip.reaches(high) && clip.reaches(2.0));
        for beyond in [low.next_down(), high.next_up(), 5e-324, f64::INFINITY, f64::NAN] {
            assert!(!clip.reaches(beyond), "{beyond}");
        }
        for (steps, low, high) in [(0, 2.0, 2.0), (1, 1.0, 4.0), (u64::MAX, low, high)] {
            assert!(clip.reaches_within(low, steps) && clip.reaches_within(high, steps), "{steps}");
            assert!(!clip.reaches_within(low.next_down(), steps), "{steps}");
            assert!(!clip.reaches_within(high.next_up(), steps), "{steps}");
        }
    }
}
