//! What a plan promises about the silos' records.
// What is promised of a mode that is added later is decided for it, and not by a wildcard.
#![deny(clippy::wildcard_enum_match_arm)]

mod mode;
mod section;

use accounting::{DpEvent, Relation, Unit};
use serde::{Deserialize, Serialize};

pub use mode::PrivacyMode;

/// What is promised about the silos' records. In a plan's text one flat section, with the mode's name beside its numbers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(from = "section::Privacy", into = "section::Privacy")]
pub enum Privacy {
    /// No promise, and exact sums: `fedavg`.
    Exact(Exact),
    /// Differential privacy: every other mode.
    Private(Promise),
}

/// FedAvg under secure aggregation, exact and without noise.
///
/// # Privacy
/// The coordinator sees exact sums over at least `honest_min` silos. They can be differenced across rounds.
#[derive(Debug, Clone, PartialEq)]
pub struct Exact {
    /// Every coordinate of an update is clipped to ± this.
    pub coordinate_max: f64,
    /// Fixed-point bits after the binary point.
    pub fraction_bits: u32,
    /// How silos are weighted.
    pub weights: Weights,
    /// Sum the silos' training loss and accuracy under the mask.
    pub evaluate: bool,
    /// The loss is clipped to `0..=loss_max` before it is summed.
    pub loss_max: f64,
}

/// A promise of differential privacy, and the mechanism that keeps it.
#[derive(Debug, Clone, PartialEq)]
pub struct Promise {
    /// The run stops before it would spend more than this, of any unit's data.
    pub epsilon: f64,
    /// At this probability of failure.
    pub delta: f64,
    /// Standard deviation of the calibrated noise over the sensitivity Δ; of each step's, in [`Scheme::SiloDpSgd`].
    pub noise_multiplier: f64,
    /// What one unit contributes, a record's gradient or a silo's update, is clipped to this L2 norm.
    pub clip_norm: f64,
    /// One unit of gradient or update is `2^scale_bits` in the integers that the noise is added to.
    pub scale_bits: u32,
    /// What is noised, and by whom.
    pub scheme: Scheme,
}

/// What is noised, and by whom, with the numbers that no other scheme has.
#[derive(Debug, Clone, PartialEq)]
pub enum Scheme {
    /// Distributed DP-SGD: a Poisson batch in each silo, per-example clipping, a share of the noise, one sum.
    ///
    /// # Privacy
    /// Unit: one record, or one person; relation: add or remove one. Noise by all silos, `σ²/honest_min` each; trusted: at most
    /// `corrupt` silos collude. Where excess noise is removed: `σ²/(u − corrupt)` each of `u` silos in the sum.
    DistributedDpSgd {
        /// A round's batch.
        sampling: Sampling,
        /// Take noise off the sum that it has beyond what was calibrated, once it is known who is in it.
        remove_excess_noise: bool,
        /// Let the clip norm follow a quantile of the norms, from `clip_norm` on.
        adaptive_clip: Option<AdaptiveClipping>,
    },
    /// DP-SGD in each silo: several noised steps on its own rows, then a plain secure sum of what came out.
    ///
    /// # Privacy
    /// Unit: one record, or one person; relation: add or remove one. Each silo adds all its noise itself, so that nobody outside has to be
    /// trusted, and every silo's update is private by itself. Inside the silo its trainer is: it takes the noised steps, and nobody can
    /// check the noise.
    SiloDpSgd {
        /// A step's batch.
        sampling: Sampling,
        /// Steps of a round, at `training.learning_rate`.
        local_steps: u32,
        /// Every coordinate of the update is clipped to ± this, after the noise.
        coordinate_max: f64,
        /// Fixed-point bits of the update after the binary point.
        fraction_bits: u32,
    },
    /// Distributed DP-FedAvg: a silo's whole update is the unit. Useless below about a thousand silos.
    ///
    /// # Privacy
    /// Unit: one silo; relation: zero-out, no amplification by sampling. Noise and trust as in
    /// [`Scheme::DistributedDpSgd`].
    DistributedDpFedavg {
        /// As in [`Scheme::DistributedDpSgd`].
        remove_excess_noise: bool,
        /// As in [`Scheme::DistributedDpSgd`].
        adaptive_clip: Option<AdaptiveClipping>,
    },
    /// Central DP-FedAvg: silos clip, the coordinator adds the noise to the sum that it opens.
    ///
    /// # Privacy
    /// Unit: one silo; relation: zero-out, no amplification by sampling. It holds against everybody but the coordinator,
    /// which sees exact sums and has to be trusted to add the noise.
    CentralDpFedavg {
        /// As in [`Scheme::DistributedDpSgd`].
        adaptive_clip: Option<AdaptiveClipping>,
    },
}

/// The Poisson batches of the schemes whose unit is a record or a person.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampling {
    /// What is drawn, clipped and hidden.
    pub unit: Sampled,
    /// Probability that a unit is in a batch.
    pub rate: f64,
    /// A batch's sum of gradients is divided by this constant, never by the batch's size.
    pub divisor: f64,
    /// Largest batch that the integers have room for, in units; sizes them only.
    pub rows_max: u64,
}

/// What is drawn into a batch by itself, and contributes one clipped gradient.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "section::Unit", into = "section::Unit")]
pub enum Sampled {
    /// Each row. A person who has several contributes as often.
    #[default]
    Record,
    /// A person with their rows in the silo, as the silo's registration names them: the sum of the rows' gradients is clipped. Of the
    /// rows that fit the plan the first `rows_max` are used, so that nobody's history alone makes a round late.
    Person { rows_max: usize },
}

impl Sampled {
    /// Persons, with so many rows as a plan that says nothing of it uses.
    pub const PERSON: Self = Self::Person { rows_max: 256 };

    pub(crate) fn is_record(&self) -> bool {
        *self == Self::Record
    }
}

/// How the clip norm follows a quantile of the units' norms; see [`dp::AdaptiveClip`].
///
/// # Privacy
/// The count of units within the clip norm is one more coordinate of the same noised sum: `noise_multiplier` is over the
/// sensitivity of both together, so that the event of an upload is that of a constant clip norm.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdaptiveClipping {
    /// The share of units that are to be within the clip norm.
    pub target_quantile: f64,
    /// How fast the clip norm moves: a round in which all were within, or none, moves it by about this much of itself.
    pub learning_rate: f64,
    /// The count's part of the squared sensitivity, which is taken from the update's.
    pub share: f64,
}

/// How silos are weighted in the mean.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Weights {
    /// Every silo counts the same.
    Uniform,
    /// By number of rows, `min(rows, rows_max)/rows_max`, summed under the mask.
    Rows {
        /// Rows beyond this add no weight.
        rows_max: u64,
    },
}

impl Privacy {
    /// The mode of the plan, by its name.
    pub fn mode(&self) -> PrivacyMode {
        match self {
            Self::Exact(_) => PrivacyMode::Fedavg,
            Self::Private(promise) => promise.mode(),
        }
    }

    /// What one unit of the promise is, if there is one.
    pub fn unit(&self) -> Option<Unit> {
        self.promise().map(Promise::unit)
    }

    /// The neighbouring relation of the promise, if there is one.
    pub fn relation(&self) -> Option<Relation> {
        self.unit().map(Unit::relation)
    }

    /// What is promised, if anything.
    pub fn promise(&self) -> Option<&Promise> {
        match self {
            Self::Exact(_) => None,
            Self::Private(promise) => Some(promise),
        }
    }

    /// The same, to be changed.
    pub fn promise_mut(&mut self) -> Option<&mut Promise> {
        match self {
            Self::Exact(_) => None,
            Self::Private(promise) => Some(promise),
        }
    }

    /// The numbers of the mode without a promise.
    pub fn exact_mut(&mut self) -> Option<&mut Exact> {
        match self {
            Self::Exact(exact) => Some(exact),
            Self::Private(_) => None,
        }
    }
}

impl Promise {
    /// The mode that makes it.
    pub fn mode(&self) -> PrivacyMode {
        match self.scheme {
            Scheme::DistributedDpSgd { .. } => PrivacyMode::DistributedDpSgd,
            Scheme::SiloDpSgd { .. } => PrivacyMode::SiloDpSgd,
            Scheme::DistributedDpFedavg { .. } => PrivacyMode::DistributedDpFedavg,
            Scheme::CentralDpFedavg { .. } => PrivacyMode::CentralDpFedavg,
        }
    }

    /// Whose presence it hides.
    pub fn unit(&self) -> Unit {
        match self.sampling().map(|sampling| sampling.unit) {
            Some(Sampled::Record) => Unit::Record,
            Some(Sampled::Person { .. }) => Unit::Person,
            None => Unit::Silo,
        }
    }

    /// What one upload costs, as an event for the accountant.
    pub fn event(&self) -> DpEvent {
        let noise_multiplier = self.noise_multiplier;
        match &self.scheme {
            Scheme::DistributedDpSgd { sampling, .. } => {
                DpEvent::PoissonGaussian { sampling_rate: sampling.rate, noise_multiplier }
            }
            Scheme::SiloDpSgd { sampling, local_steps, .. } => DpEvent::PoissonGaussianSteps {
                sampling_rate: sampling.rate,
                noise_multiplier,
                steps: *local_steps,
            },
            Scheme::DistributedDpFedavg { .. } | Scheme::CentralDpFedavg { .. } => {
                DpEvent::Gaussian { noise_multiplier }
            }
        }
    }

    /// The batches, where a record or a person is the unit.
    pub fn sampling(&self) -> Option<&Sampling> {
        match &self.scheme {
            Scheme::DistributedDpSgd { sampling, .. } | Scheme::SiloDpSgd { sampling, .. } => Some(sampling),
            Scheme::DistributedDpFedavg { .. } | Scheme::CentralDpFedavg { .. } => None,
        }
    }

    /// The same, to be changed.
    pub fn sampling_mut(&mut self) -> Option<&mut Sampling> {
        match &mut self.scheme {
            Scheme::DistributedDpSgd { sampling, .. } | Scheme::SiloDpSgd { sampling, .. } => Some(sampling),
            Scheme::DistributedDpFedavg { .. } | Scheme::CentralDpFedavg { .. } => None,
        }
    }

    /// How the clip norm moves; `None` where it is a constant.
    pub fn adaptive_clip(&self) -> Option<AdaptiveClipping> {
        match self.scheme {
            Scheme::DistributedDpSgd { adaptive_clip, .. }
            | Scheme::DistributedDpFedavg { adaptive_clip, .. }
            | Scheme::CentralDpFedavg { adaptive_clip } => adaptive_clip,
            Scheme::SiloDpSgd { .. } => None,
        }
    }

    /// The same, to be changed; `None` in the scheme whose clip norm cannot move.
    pub fn adaptive_clip_mut(&mut self) -> Option<&mut Option<AdaptiveClipping>> {
        match &mut self.scheme {
            Scheme::DistributedDpSgd { adaptive_clip, .. }
            | Scheme::DistributedDpFedavg { adaptive_clip, .. }
            | Scheme::CentralDpFedavg { adaptive_clip } => Some(adaptive_clip),
            Scheme::SiloDpSgd { .. } => None,
        }
    }

    /// Whether noise beyond what was calibrated is taken off a sum; `None` in the schemes that have none.
    pub fn remove_excess_noise(&self) -> Option<bool> {
        match self.scheme {
            Scheme::DistributedDpSgd { remove_excess_noise, .. }
            | Scheme::DistributedDpFedavg { remove_excess_noise, .. } => Some(remove_excess_noise),
            Scheme::SiloDpSgd { .. } | Scheme::CentralDpFedavg { .. } => None,
        }
    }

    /// The same, to be changed.
    pub fn remove_excess_noise_mut(&mut self) -> Option<&mut bool> {
        match &mut self.scheme {
            Scheme::DistributedDpSgd { remove_excess_noise, .. }
            | Scheme::DistributedDpFedavg { remove_excess_noise, .. } => Some(remove_excess_noise),
            Scheme::SiloDpSgd { .. } | Scheme::CentralDpFedavg { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_modes_section_is_read_and_written_with_the_keys_and_the_order_that_plans_were_signed_in() {
        let adaptive = r#""adaptive_clip":{"target_quantile":0.5,"learning_rate":0.2,"share":0.05}"#;
        let promised = r#""epsilon":4.9,"delta":0.00001,"noise_multiplier":5.3,"clip_norm":0.5"#;
        let sampled = r#""sampling_rate":0.1,"divisor":150.0"#;
        for (mode, keys) in [
            (
                PrivacyMode::Fedavg,
                r#""coordinate_max":4.0,"fraction_bits":20,"weights":{"rows":{"rows_max":9}},"evaluate":true,"loss_max":10.0"#
                    .to_owned(),
            ),
            (
                PrivacyMode::DistributedDpSgd,
                format!(
                    r#"{promised},{sampled},"scale_bits":16,"batch_rows_max":64,"remove_excess_noise":true,{adaptive}"#
                ),
            ),
            (
                PrivacyMode::DistributedDpSgd,
                format!(r#"{promised},{sampled},"scale_bits":16,"batch_rows_max":64"#),
            ),
            (
                PrivacyMode::DistributedDpSgd,
                format!(r#"{promised},"unit":{{"person":{{"rows_max":40}}}},{sampled},"scale_bits":16,"batch_rows_max":64"#),
            ),
            (
                PrivacyMode::SiloDpSgd,
                format!(
                    r#"{promised},{sampled},"local_steps":3,"scale_bits":16,"batch_rows_max":64,"coordinate_max":4.0,"fraction_bits":20"#
                ),
            ),
            (
                PrivacyMode::DistributedDpFedavg,
                format!(r#"{promised},"scale_bits":16,"remove_excess_noise":true,{adaptive}"#),
            ),
            (PrivacyMode::CentralDpFedavg, format!(r#"{promised},"scale_bits":16,{adaptive}"#)),
        ] {
            let text = format!(r#"{{"mode":"{mode}",{keys}}}"#);
            let privacy: Privacy = serde_json::from_str(&text).unwrap();
            assert_eq!(privacy.mode(), mode);
            assert_eq!(serde_json::to_string(&privacy).unwrap(), text);
        }
    }
}
