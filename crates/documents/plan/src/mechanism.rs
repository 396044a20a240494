//! A plan's arithmetic: how an update becomes lanes, how much noise, how a sum becomes a step.
#![deny(clippy::wildcard_enum_match_arm)] // Each mode's promise is decided for it.

use dp::{
    ClippedSum, ClippedUpdate, DiscreteGaussian, ExactEncoding, LocalUpdate, MetricRange, NoisedUpdate,
    Scale, Sigma, Weight, WithoutNoise, dequantize,
    ring::{require_room_for_exact, require_room_for_sums, require_room_for_updates},
    sensitivity::{NoiseShareError, delta_l2_sum, delta_l2_update, sigma_local},
};
use params::Digest;
use rand_core::CryptoRng;
use secagg::{ExcessNoise, ExcessSeed, Floors, MaskedUpdate, Masking, NoiseSeeds};

use crate::clipping::Clipping;
use crate::document::Plan;
use crate::privacy::{Exact, Privacy, Promise, Sampling, Scheme, Weights};
use crate::problems::Problem;
use crate::shared_noise::SharedNoise;
use optim::State;

/// Bits of a lane.
pub(crate) const RING_BITS: u32 = 32;

pub(crate) const SCALE_BITS: &str = "privacy.scale_bits";

/// The constants that both sides compute from the plan, and neither from data.
#[derive(Debug, Clone, PartialEq)]
pub enum Mechanism {
    /// `fedavg`: exact lanes, a weight and metrics, no noise; `silo_dp_sgd`: an update that carries all its noise.
    Exact {
        encoding: ExactEncoding,
        /// How silos count.
        weights: Weights,
    },
    /// `distributed_dp_sgd`: sums of clipped gradients.
    Sums {
        /// Lanes per unit.
        scale: Scale,
        /// What gradients are clipped to.
        clipping: Clipping,
        /// Largest batch that the ring has room for.
        rows_max: u64,
        /// The silos' noise, in lanes.
        noise: SharedNoise,
        /// The sum is divided by this.
        divisor: f64,
    },
    /// `central_dp_fedavg`: clipped updates, whose sum the coordinator adds the noise to.
    Central {
        /// Lanes per unit.
        scale: Scale,
        /// What updates are clipped to.
        clipping: Clipping,
        /// All of the noise, in lanes.
        sigma: Sigma,
    },
    /// `distributed_dp_fedavg`: clipped updates.
    Updates {
        /// Lanes per unit.
        scale: Scale,
        /// What updates are clipped to.
        clipping: Clipping,
        /// The silos' noise, in lanes.
        noise: SharedNoise,
    },
}

/// What a contribution is made from. Masks are bound to the same, and so is what is debited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// Digest of the plan.
    pub plan: Digest,
    /// What the round starts from: the model and, where the clip norm moves, the server's state.
    pub start: Digest,
}

/// What a silo's training brings to a round, before anything protects it, and what it was made from.
pub struct Contribution {
    origin: Origin,
    learned: Learned,
}

impl Contribution {
    /// Of a training under this plan that began with this model.
    pub fn new(origin: Origin, learned: impl Into<Learned>) -> Self {
        Self { origin, learned: learned.into() }
    }

    /// What it was made from.
    pub fn origin(&self) -> Origin {
        self.origin
    }
}

/// What was learned, by the plan's mode.
pub enum Learned {
    /// A mode that trains locally: how the parameters changed.
    Update {
        update: LocalUpdate,
        /// Rows it was trained on: the weight, where the plan weights by rows.
        rows: u64,
        /// Means over the silo's rows, as [`Plan::METRICS`] names them.
        metrics: [f64; 2],
    },
    /// A mode that hides whole silos: an update as it was clipped.
    Clipped(ClippedUpdate),
    /// `distributed_dp_sgd`: the sum of clipped gradients of one batch.
    Sum(ClippedSum),
}

/// A contribution that may be masked, and goes to the network in no other way.
///
/// # Privacy
/// Nothing that was not protected is masked:
///
/// ```compile_fail,E0308
/// fn mask_what_was_learned(contribution: plan::Contribution, masking: secagg::Masking) {
///     let _ = masking.mask(contribution);
/// }
/// ```
///
/// and what was is not taken apart on the way:
///
/// ```compile_fail,E0616
/// fn look_into(protected: plan::Protected) {
///     let _ = protected.update;
/// }
/// ```
#[derive(Debug)]
pub struct Protected {
    origin: Origin,
    update: NoisedUpdate,
    /// Coordinates that the exact mode clipped; for the silo's own operator.
    pub clipped_coordinates: usize,
}

impl Protected {
    /// What it was made from.
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// Adds the masks; the update without them is consumed.
    pub fn mask(self, masking: Masking) -> MaskedUpdate {
        masking.mask(self.update)
    }

    /// The lanes as they are, where silos, masks and the sum are in one process: rehearsals, simulations, audits.
    ///
    /// # Privacy
    /// In the clear but for one silo's share of the noise: never for a network.
    pub fn into_plain_lanes(self) -> Vec<u32> {
        self.update.into_lanes()
    }
}

/// Why a contribution cannot be sent. For the silo's own log: it may say something of the data.
#[derive(Debug, thiserror::Error)]
pub enum ProtectError {
    /// It was made under another plan than its masks are bound to.
    #[error("it was trained under the plan {}, and is to be masked under {}", got.short(), wanted.short())]
    OtherPlan {
        got: Digest,
        /// What the masks were made for.
        wanted: Digest,
    },
    /// It was made from another model than its masks are bound to.
    #[error("it was trained on the model {}, and is to be masked for a round on {}", got.short(), wanted.short())]
    OtherModel {
        got: Digest,
        /// What the masks were made for.
        wanted: Digest,
    },
    /// The trainer returned the other kind.
    #[error("the trainer returned another kind of update than the plan's mode sends")]
    OtherKind,
    /// A local step has another number of coordinates than the model it starts from.
    #[error("a local step has another number of coordinates than the model has parameters")]
    Length,
    /// The update is not clippable.
    #[error(transparent)]
    Update(#[from] dp::UpdateError),
    /// The integers break a bound.
    #[error(transparent)]
    Quantize(#[from] dp::QuantizeError),
    /// The weight cannot be formed.
    #[error(transparent)]
    Weight(#[from] dp::EncodingError),
    /// Clipped to another norm than the noise is calibrated for.
    #[error("the trainer clipped to another norm than the plan's")]
    Clip,
    /// A share of the noise cannot be drawn in a cohort of this size.
    #[error(transparent)]
    NoiseShare(#[from] NoiseShareError),
    /// The plan removes excess noise and this attempt shared no seeds of it.
    #[error("the plan removes excess noise, and this cohort did not share the seeds of it")]
    NoiseSeeds,
}

/// Why an opened sum cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SumError {
    /// Its weights are not those of any silos.
    #[error("{0}")]
    Weights(String),
    #[error("{0}")]
    Other(String),
}

/// An opened sum, read.
#[derive(Debug, Clone, PartialEq)]
pub struct Aggregate {
    /// What the server optimiser steps by, one value per parameter.
    pub update: Vec<f32>,
    /// What was summed beside it, and what follows from that: name and value.
    pub metrics: Vec<(&'static str, f64)>,
    /// What the next round's contributions are clipped to, where that moves.
    pub clip_norm: Option<f64>,
}

impl Plan {
    /// Names of the metric lanes, in their order.
    pub const METRICS: [&'static str; 2] = ["training_loss", "training_accuracy"];
    /// Name of the noised share of units that were within the round's clip norm, where that moves.
    pub const SHARE_WITHIN_CLIP: &'static str = "noised_share_within_clip_norm";
    /// Name of the clip norm that follows from it.
    pub const NEXT_CLIP_NORM: &'static str = "next_clip_norm";

    /// What becomes of noise that a sum of many silos has too much of.
    pub fn excess_noise(&self) -> ExcessNoise {
        match self.privacy.promise().and_then(Promise::remove_excess_noise) {
            Some(true) => ExcessNoise::Removed,
            Some(false) | None => ExcessNoise::Kept,
        }
    }

    /// What every cohort has to meet.
    pub fn floors(&self) -> Floors {
        Floors {
            cohort_min: self.cohort.minimum,
            cohort_max: self.cohort.maximum,
            honest_min: self.cohort.honest_min,
            corrupt: self.cohort.corrupt,
            excess_noise: self.excess_noise(),
        }
    }

    /// The plan's arithmetic.
    ///
    /// # Errors
    /// The field at fault and its remedy: a sum that could wrap, a share of noise too fine or too large to be drawn
    /// exactly.
    pub fn mechanism(&self) -> Result<Mechanism, Problem> {
        let promise = match &self.privacy {
            Privacy::Exact(exact) => {
                let Exact { coordinate_max, fraction_bits, weights, evaluate, loss_max } = *exact;
                let maxima: &[f64] = if evaluate { &[loss_max, 1.0] } else { &[] };
                return self.averaging(coordinate_max, fraction_bits, maxima, weights);
            }
            Privacy::Private(promise) => promise,
        };
        match promise.scheme {
            Scheme::SiloDpSgd { coordinate_max, fraction_bits, .. } => {
                self.silo_noise()?;
                self.averaging(coordinate_max, fraction_bits, &[], Weights::Uniform)
            }
            Scheme::DistributedDpSgd { sampling, .. } => self.summing(promise, &sampling),
            Scheme::DistributedDpFedavg { .. } => {
                let (scale, clipping, norm, lanes) = self.clipped_lanes(promise)?;
                let noise = self.shared_noise(promise, delta_l2_update(scale, norm, lanes))?;
                self.require_room_for_updates(scale, norm, lanes, noise.share())?;
                Ok(Mechanism::Updates { scale, clipping, noise })
            }
            Scheme::CentralDpFedavg { .. } => {
                let (scale, clipping, norm, lanes) = self.clipped_lanes(promise)?;
                // Rounded up like a share; the room is for one such noise from every silo, which is more than it takes.
                let sigma = share(promise.noise_multiplier * delta_l2_update(scale, norm, lanes), 1)?;
                self.require_room_for_updates(scale, norm, lanes, sigma)?;
                Ok(Mechanism::Central { scale, clipping, sigma })
            }
        }
    }

    /// Exact lanes, with a lane for each metric whose range is from 0 to one of these.
    fn averaging(
        &self,
        coordinate_max: f64,
        fraction_bits: u32,
        metric_maxima: &[f64],
        weights: Weights,
    ) -> Result<Mechanism, Problem> {
        const FRACTION_BITS: &str = "privacy.fraction_bits";
        let scale = scale(FRACTION_BITS, fraction_bits)?;
        let range = |high: &f64| MetricRange::new(0.0, *high).map_err(Problem::of("privacy.loss_max"));
        let metrics = metric_maxima.iter().map(range).collect::<Result<_, _>>()?;
        let encoding = ExactEncoding::new(scale, coordinate_max, metrics)
            .map_err(Problem::of("privacy.coordinate_max"))?;
        // Format 1 sums the weights wherever silos average, and takes any sum that is positive.
        let encoding = match (self.format(), weights) {
            (1, _) => encoding,
            (_, Weights::Uniform) => encoding.of_uniform_weights(),
            (_, Weights::Rows { .. }) => encoding.of_bounded_weights(),
        };
        require_room_for_exact(RING_BITS, self.cohort.maximum, &encoding).map_err(wrap(FRACTION_BITS))?;
        Ok(Mechanism::Exact { encoding, weights })
    }

    fn summing(&self, promise: &Promise, sampling: &Sampling) -> Result<Mechanism, Problem> {
        let (scale, clipping, norm, lanes) = self.clipped_lanes(promise)?;
        let noise = self.shared_noise(promise, delta_l2_sum(scale, norm, lanes))?;
        let Sampling { divisor, rows_max, .. } = *sampling;
        let silos = self.cohort.maximum;
        require_room_for_sums(RING_BITS, silos, scale, norm, rows_max, lanes, noise.share())
            .map_err(wrap(SCALE_BITS))?;
        Ok(Mechanism::Sums { scale, clipping, rows_max, noise, divisor })
    }

    /// Lanes per unit, what contributions are clipped to, the largest norm of one, and how many lanes it has.
    fn clipped_lanes(&self, promise: &Promise) -> Result<(Scale, Clipping, f64, usize), Problem> {
        let scale = scale(SCALE_BITS, promise.scale_bits)?;
        let clipping = Clipping::of(promise)?;
        let lanes = clipping.lanes(self.architecture().parameter_count());
        Ok((scale, clipping, clipping.unit_norm(), lanes))
    }

    fn shared_noise(&self, promise: &Promise, sensitivity: f64) -> Result<SharedNoise, Problem> {
        SharedNoise::new(promise.noise_multiplier * sensitivity, &self.cohort, self.excess_noise())
    }

    fn require_room_for_updates(
        &self,
        scale: Scale,
        norm: f64,
        lanes: usize,
        sigma: Sigma,
    ) -> Result<(), Problem> {
        require_room_for_updates(RING_BITS, self.cohort.maximum, scale, norm, lanes, sigma)
            .map_err(wrap(SCALE_BITS))
    }
}

impl Mechanism {
    /// Rounds to integers, asserts their norm and adds this silo's share of the noise.
    ///
    /// # Errors
    /// [`ProtectError`]; nothing may be sent then. `bound` is what the masks are bound to: nothing that was made from anything else
    /// is protected for them.
    ///
    /// # Privacy
    /// `rng` decides rounding and noise: seeded afresh for each call, and by the operating system. `seeds` are this attempt's:
    /// what of the noise can be taken off again is drawn from them.
    pub fn protect(
        &self,
        contribution: Contribution,
        bound: Origin,
        seeds: &NoiseSeeds,
        rng: &mut dyn CryptoRng,
    ) -> Result<Protected, ProtectError> {
        let Contribution { origin, learned } = contribution;
        if origin.plan != bound.plan {
            return Err(ProtectError::OtherPlan { got: origin.plan, wanted: bound.plan });
        }
        if origin.start != bound.start {
            return Err(ProtectError::OtherModel { got: origin.start, wanted: bound.start });
        }
        let (update, clipped_coordinates) = match (self, learned) {
            (Self::Exact { encoding, weights }, Learned::Update { update, rows, metrics }) => {
                let weight = match *weights {
                    Weights::Uniform => Weight::uniform(encoding.scale()),
                    Weights::Rows { rows_max } => Weight::of_rows(rows, rows_max, encoding.scale())?,
                };
                let wanted = encoding.metric_count().min(metrics.len());
                let metrics = metrics.split_at(wanted).0;
                let exact = update.quantize_exact(encoding, weight, metrics)?;
                let plan = WithoutNoise::plan_has_no_privacy();
                (exact.update.without_noise(plan), exact.clipped_coordinates)
            }
            (Self::Sums { scale, clipping, rows_max, noise, .. }, Learned::Sum(sum)) => {
                // A batch beyond `rows_max` may wrap, which costs accuracy; refusing it would tell the size of the data.
                let rows_max = sum.rows().max(*rows_max);
                let quantized = clipping.sum(sum)?.quantize_nearest(*scale, rows_max)?;
                (noise.add_to(quantized, seeds, rng)?, 0)
            }
            (Self::Central { scale, clipping, .. }, Learned::Clipped(update)) => {
                let quantized = clipping.update(update)?.quantize_stochastic(*scale, rng)?;
                (quantized.without_noise(WithoutNoise::the_coordinator_adds_it()), 0)
            }
            (Self::Updates { scale, clipping, noise }, Learned::Clipped(update)) => {
                let quantized = clipping.update(update)?.quantize_stochastic(*scale, rng)?;
                (noise.add_to(quantized, seeds, rng)?, 0)
            }
            _ => return Err(ProtectError::OtherKind),
        };
        Ok(Protected { origin, update, clipped_coordinates })
    }

    /// Adds what noise the coordinator owes to a sum that it has opened; nothing but in `central_dp_fedavg`.
    ///
    /// # Privacy
    /// Before anything of the sum is stepped by, written or shown to anybody. `rng`: seeded by the operating system for each sum;
    /// a sum that is opened again after a crash was shown to nobody before.
    pub fn noise_sum(&self, lanes: &mut [u32], rng: &mut dyn CryptoRng) {
        if let Self::Central { sigma, .. } = self {
            DiscreteGaussian::new(*sigma).add_to_lanes(lanes, rng);
        }
    }

    /// Takes noise that a sum has beyond what was calibrated off it; nothing where the plan keeps it.
    ///
    /// # Errors
    /// A component that no silo of this plan draws, in words.
    pub fn remove_excess(&self, lanes: &mut [u32], excess: &[ExcessSeed]) -> Result<(), String> {
        match self {
            Self::Sums { noise, .. } | Self::Updates { noise, .. } => {
                noise.take_off(lanes, excess).map_err(|why| why.to_string())
            }
            Self::Exact { .. } | Self::Central { .. } => Ok(()),
        }
    }

    /// Reads an opened sum of `included` silos' lanes as what the server steps by. `state`: its memory before the round.
    ///
    /// # Errors
    /// A sum that is no mean.
    ///
    /// # Shapes
    /// `lanes` as [`Plan::lanes`] says; the update has one value per parameter.
    pub fn read_sum(&self, lanes: &[u32], included: usize, state: &State) -> Result<Aggregate, SumError> {
        match self {
            Self::Exact { encoding, .. } => {
                let mean = encoding.decode(lanes, included).map_err(|why| match why.is_of_weights() {
                    true => SumError::Weights(why.to_string()),
                    false => SumError::Other(why.to_string()),
                })?;
                let metrics = Plan::METRICS.into_iter().zip(mean.metrics).collect();
                Ok(Aggregate { update: mean.update, metrics, clip_norm: None })
            }
            Self::Sums { scale, clipping, divisor, .. } => {
                clipping.read(dequantize(lanes, *scale), *divisor, state).map_err(SumError::Other)
            }
            // The number of silos in the sum is public, so dividing by it spends nothing.
            Self::Updates { scale, clipping, .. } | Self::Central { scale, clipping, .. } => clipping
                .read(dequantize(lanes, *scale), included.max(1) as f64, state)
                .map_err(SumError::Other),
        }
    }
}

pub(crate) fn scale(field: &'static str, bits: u32) -> Result<Scale, Problem> {
    Scale::from_bits(bits).map_err(Problem::of(field))
}

pub(crate) fn share(sigma_total: f64, honest_min: usize) -> Result<Sigma, Problem> {
    sigma_local(sigma_total, honest_min)
        .map_err(|e| Problem::new(SCALE_BITS, format!("{e}; choose another scale_bits")))
}

pub(crate) fn wrap<E: std::fmt::Display>(field: &'static str) -> impl FnOnce(E) -> Problem {
    move |e| Problem::new(field, format!("{e}; lower it, or lower the clip, the batch or cohort.maximum"))
}
