//! What contributions are clipped to, constant or following a quantile, and how a sum of them is read.

use dp::{AdaptiveClip, AdaptiveClipError, ClippedSum, ClippedUpdate};
use optim::State;

use crate::document::Plan;
use crate::mechanism::{Aggregate, ProtectError};
use crate::privacy::Promise;
use crate::problems::Problem;

/// What a unit's part of a sum is at most.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Clipping {
    /// The plan's clip norm.
    Constant(f64),
    /// A norm of 1, after division by the round's clip norm, and a coordinate that counts who was within it.
    Adaptive(AdaptiveClip),
}

impl Clipping {
    /// What the promise says of it.
    ///
    /// # Errors
    /// The field at fault and what is usual.
    pub(crate) fn of(promise: &Promise) -> Result<Self, Problem> {
        let clip_norm = promise.clip_norm;
        let Some(adaptive) = promise.adaptive_clip() else { return Ok(Self::Constant(clip_norm)) };
        AdaptiveClip::new(clip_norm, adaptive.target_quantile, adaptive.learning_rate, adaptive.share)
            .map(Self::Adaptive)
            .map_err(|why| {
                let field = match why {
                    AdaptiveClipError::TargetQuantile(_) => "privacy.adaptive_clip.target_quantile",
                    AdaptiveClipError::LearningRate(_) => "privacy.adaptive_clip.learning_rate",
                    AdaptiveClipError::Share(_) => "privacy.adaptive_clip.share",
                };
                Problem::new(field, why.to_string())
            })
    }

    /// The largest L2 norm that a unit's part can have, in what `scale_bits` counts: the noise is calibrated to it.
    pub fn unit_norm(&self) -> f64 {
        match self {
            Self::Constant(clip_norm) => *clip_norm,
            Self::Adaptive(adaptive) => adaptive.joint_norm(),
        }
    }

    /// Lanes of a sum over a model of so many parameters.
    pub(crate) fn lanes(&self, parameters: usize) -> usize {
        match self {
            Self::Constant(_) => parameters,
            Self::Adaptive(_) => parameters + 1,
        }
    }

    /// What contributions to the round after `state` are clipped to.
    ///
    /// # Errors
    /// As [`Plan::clip_norm_after`].
    pub(crate) fn norm_after(&self, state: &State) -> Result<f64, String> {
        match self {
            Self::Constant(clip_norm) => Ok(*clip_norm),
            Self::Adaptive(adaptive) => {
                let clip_norm =
                    state.clip_norm().ok_or("the server's state before this round names no clip norm")?;
                if !adaptive.reaches(clip_norm) {
                    return Err(format!(
                        "the server's state names a clip norm of {clip_norm}, which no steps from {} lead to",
                        adaptive.initial()
                    ));
                }
                Ok(clip_norm)
            }
        }
    }

    /// A sum as it is quantised.
    ///
    /// # Errors
    /// [`ProtectError::Clip`], where terms were clipped to another norm than the noise is calibrated for.
    pub(crate) fn sum(&self, sum: ClippedSum) -> Result<ClippedSum, ProtectError> {
        match self {
            Self::Constant(clip_norm) if sum.clip_norm() != *clip_norm => Err(ProtectError::Clip),
            Self::Constant(_) => Ok(sum),
            Self::Adaptive(adaptive) => Ok(sum.counted(adaptive)),
        }
    }

    /// An update as it is quantised.
    ///
    /// # Errors
    /// As [`Clipping::sum`].
    pub(crate) fn update(&self, update: ClippedUpdate) -> Result<ClippedUpdate, ProtectError> {
        match self {
            Self::Constant(clip_norm) if update.clip_norm() != *clip_norm => Err(ProtectError::Clip),
            Self::Constant(_) => Ok(update),
            Self::Adaptive(adaptive) => Ok(update.counted(adaptive)),
        }
    }

    /// Reads an opened sum of about `units` units, after the round that `state` was left behind by.
    ///
    /// # Errors
    /// A state or a sum without what the plan's clipping needs, in words.
    pub(crate) fn read(&self, mut sum: Vec<f32>, units: f64, state: &State) -> Result<Aggregate, String> {
        let (clip_norm, next, metrics) = match self {
            Self::Constant(_) => (1.0, None, Vec::new()),
            Self::Adaptive(adaptive) => {
                let clip_norm = self.norm_after(state)?;
                let coordinate = sum.pop().ok_or("the sum has no coordinate that counts")?;
                let within = adaptive.share_within(f64::from(coordinate), units);
                let next = adaptive.next(clip_norm, within);
                (clip_norm, Some(next), vec![(Plan::SHARE_WITHIN_CLIP, within), (Plan::NEXT_CLIP_NORM, next)])
            }
        };
        for value in &mut sum {
            *value = (f64::from(*value) * clip_norm / units) as f32;
        }
        Ok(Aggregate { update: sum, metrics, clip_norm: next })
    }
}

#[cfg(test)]
mod tests {
    use chacha20::{ChaCha20Rng, rand_core::SeedableRng};
    use dp::LocalUpdate;
    use secagg::NoiseSeeds;

    use super::*;
    use params::Digest;

    use crate::mechanism::{Contribution, Learned, Mechanism, Origin};
    use crate::privacy::AdaptiveClipping;

    const ADAPTIVE: AdaptiveClipping =
        AdaptiveClipping { target_quantile: 0.5, learning_rate: 0.2, share: 0.2 };

    fn plan(adaptive: Option<AdaptiveClipping>) -> Plan {
        let mut plan = Plan::from_toml(include_str!("../../../../deploy/config/plan.toml")).unwrap();
        *plan.privacy.promise_mut().unwrap().adaptive_clip_mut().unwrap() = adaptive;
        plan
    }

    #[test]
    fn the_noise_is_calibrated_to_the_update_and_the_count_together() {
        let plan = plan(Some(ADAPTIVE));
        let parameters = plan.architecture().parameter_count();
        assert_eq!(plan.lanes(), parameters + 1);
        let Mechanism::Sums { scale, noise, .. } = plan.mechanism().unwrap() else { panic!() };
        // share = 0.2: a fifth of the squared sensitivity is the count's.
        let joint = (1.0f64 / 0.8).sqrt() * scale.factor() + ((parameters + 1) as f64).sqrt();
        let calibrated = 5.324 * joint / (plan.cohort.honest_min as f64).sqrt();
        assert!((noise.share().value() / calibrated - 1.0).abs() < 1e-6);
        assert_eq!(plan.event(), self::plan(None).event(), "an upload costs what it costs without a count");
    }

    #[test]
    fn a_sum_is_read_in_the_rounds_clip_norm_and_tells_the_next() {
        let plan = plan(Some(ADAPTIVE));
        let mechanism = plan.mechanism().unwrap();
        let (parameters, divisor) = (plan.architecture().parameter_count(), 1500.0);
        let mut lanes = vec![0u32; plan.lanes()];
        lanes[0] = 3 << 16;
        // All of 1500 were beyond: each takes half of w = 2 sqrt(share / (1 - share)) = 1 off the count.
        lanes[parameters] = ((-0.5 * divisor * 65_536.0) as i32).cast_unsigned();
        let state = plan.initial_state(parameters);
        assert_eq!(plan.clip_norm_after(&state), Ok(Some(0.5)));
        for beyond in [5e-324, 0.5 / 1025.0, 0.5 * 1025.0] {
            let why = plan.clip_norm_after(&state.clone().with_clip_norm(beyond)).unwrap_err();
            assert!(why.contains("no steps from 0.5 lead to"), "{why}");
        }
        assert!(plan.clip_norm_after(&plan.server.initial_state(parameters)).is_err());
        let read = mechanism.read_sum(&lanes, 5, &state.clone().with_clip_norm(4.0)).unwrap();
        assert_eq!(read.update.len(), parameters);
        assert!((f64::from(read.update[0]) - 3.0 * 4.0 / divisor).abs() < 1e-9);
        assert!((read.clip_norm.unwrap() - 4.0 * 1.1).abs() < 1e-9, "{:?}", read.clip_norm);
        assert_eq!(read.metrics[0].0, Plan::SHARE_WITHIN_CLIP);
        assert!(read.metrics[0].1.abs() < 1e-9);
        let bare = plan.server.initial_state(parameters);
        assert!(mechanism.read_sum(&lanes, 5, &bare).unwrap_err().to_string().contains("no clip norm"));
    }

    #[test]
    fn what_was_clipped_to_another_norm_than_the_plans_is_not_sent() {
        let mut rng = ChaCha20Rng::from_seed([1; 32]);
        let sum = |plan: &Plan, clip_norm: f64| {
            let parameters = plan.architecture().parameter_count();
            let origin = Origin { plan: plan.digest(), start: Digest::sha256(b"model") };
            let sum = ClippedSum::new(vec![0.0; parameters], clip_norm, 1).unwrap();
            Contribution::new(origin, Learned::Sum(sum))
        };
        let seeds = NoiseSeeds::nobody_drops(5);
        let (constant, moving) = (plan(None), plan(Some(ADAPTIVE)));
        let mut protect = |plan: &Plan, contribution: Contribution| {
            let origin = contribution.origin();
            plan.mechanism().unwrap().protect(contribution, origin, &seeds, &mut rng).map(drop)
        };
        protect(&constant, sum(&constant, 0.5)).unwrap();
        let refused = protect(&constant, sum(&constant, 0.6)).unwrap_err();
        assert!(matches!(refused, ProtectError::Clip), "{refused}");
        protect(&moving, sum(&moving, 0.6)).unwrap();
        let update = LocalUpdate::new(vec![0.5]).unwrap().clip(2.0).unwrap();
        let refused = Clipping::Constant(1.0).update(update).unwrap_err();
        assert!(matches!(refused, ProtectError::Clip), "{refused}");
    }

    #[test]
    fn what_was_made_from_another_plan_or_another_model_is_not_protected_for_these_masks() {
        let plan = plan(None);
        let of = |text: &str| Digest::sha256(text.as_bytes());
        let bound = Origin { plan: plan.digest(), start: of("model") };
        let protect = |origin| {
            let sum = ClippedSum::new(vec![0.0; plan.architecture().parameter_count()], 0.5, 1).unwrap();
            let contribution = Contribution::new(origin, Learned::Sum(sum));
            let mut rng = ChaCha20Rng::from_seed([1; 32]);
            let seeds = NoiseSeeds::nobody_drops(5);
            plan.mechanism().unwrap().protect(contribution, bound, &seeds, &mut rng)
        };
        assert_eq!(protect(bound).unwrap().origin(), bound);
        let why = protect(Origin { start: of("another model"), ..bound }).unwrap_err();
        assert!(matches!(why, ProtectError::OtherModel { .. }), "{why}");
        let why = protect(Origin { plan: of("another plan"), ..bound }).unwrap_err();
        assert!(matches!(why, ProtectError::OtherPlan { .. }), "{why}");
    }

    #[test]
    fn numbers_that_steer_nothing_are_refused_with_their_field() {
        for (field, bad) in [
            ("privacy.adaptive_clip.target_quantile", AdaptiveClipping { target_quantile: 1.0, ..ADAPTIVE }),
            ("privacy.adaptive_clip.learning_rate", AdaptiveClipping { learning_rate: 0.0, ..ADAPTIVE }),
            ("privacy.adaptive_clip.share", AdaptiveClipping { share: 0.9, ..ADAPTIVE }),
        ] {
            let why = plan(Some(bad)).validate().unwrap_err().to_string();
            assert!(why.contains(field), "{why}");
        }
        let text = include_str!("../../../../deploy/config/plan.toml").replace(
            "clip_norm = 0.5",
            "clip_norm = 0.5\nadaptive_clip = { target_quantile = 0.5, learning_rate = 0.2, share = 0.05, rate = 1 }",
        );
        assert!(Plan::from_toml(&text).unwrap_err().to_string().contains("unknown field `rate`"));
    }
}
