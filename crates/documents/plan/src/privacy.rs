//! What a plan promises about the silos' records.
// What is promised of a mode that is added later is decided for it, and not by a wildcard.
#![deny(clippy::wildcard_enum_match_arm)]

use serde::{Deserialize, Serialize};

/// What is promised about the silos' records.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "mode", rename_all = "snake_case", deny_unknown_fields)]
pub enum Privacy {
    /// FedAvg under secure aggregation, exact and without noise.
    ///
    /// # Privacy
    /// The coordinator sees exact sums over at least `honest_min` silos. They can be differenced across rounds.
    Fedavg {
        /// Every coordinate of an update is clipped to ± this.
        coordinate_max: f64,
        /// Fixed-point bits after the binary point.
        fraction_bits: u32,
        /// How silos are weighted.
        weights: Weights,
        /// Sum the silos' training loss and accuracy under the mask.
        evaluate: bool,
        /// The loss is clipped to `0..=loss_max` before it is summed.
        loss_max: f64,
    },
    /// Distributed DP-SGD: a Poisson batch in each silo, per-example clipping, a share of the noise, one sum.
    ///
    /// # Privacy
    /// Unit: one record; relation: add or remove one. Noise by all silos, `σ²/honest_min` each; trusted: at most
    /// `corrupt` silos collude. Where excess noise is removed: `σ²/(u − corrupt)` each of `u` silos in the sum.
    DistributedDpSgd {
        /// The run stops before it would spend more than this.
        epsilon: f64,
        /// At this probability of failure.
        delta: f64,
        /// Standard deviation of the calibrated noise over the sensitivity Δ.
        noise_multiplier: f64,
        /// A record's gradient is clipped to this L2 norm.
        clip_norm: f64,
        /// Probability that a record is in a round's batch.
        sampling_rate: f64,
        /// The sum of gradients is divided by this constant, never by a batch's size.
        divisor: f64,
        /// One unit of gradient is `2^scale_bits` in the ring.
        scale_bits: u32,
        /// Largest batch that the ring has room for; sizes the ring only.
        batch_rows_max: u64,
        /// Take noise off the sum that it has beyond what was calibrated, once it is known who is in it.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        remove_excess_noise: bool,
        /// Let the clip norm follow a quantile of the norms, from `clip_norm` on.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        adaptive_clip: Option<AdaptiveClipping>,
    },
    /// DP-SGD in each silo: several noised steps on its own rows, then a plain secure sum of what came out.
    ///
    /// # Privacy
    /// Unit: one record; relation: add or remove one. Each silo adds all its noise itself, so that nobody has to be trusted,
    /// and every silo's update is private by itself.
    SiloDpSgd {
        /// The run stops before it would spend more than this, of any silo's records.
        epsilon: f64,
        /// At this probability of failure.
        delta: f64,
        /// Standard deviation of each step's noise over the sensitivity Δ.
        noise_multiplier: f64,
        /// A record's gradient is clipped to this L2 norm.
        clip_norm: f64,
        /// Probability that a record is in a step's batch.
        sampling_rate: f64,
        /// A step's sum of gradients is divided by this constant, never by a batch's size.
        divisor: f64,
        /// Steps of a round, at `training.learning_rate`.
        local_steps: u32,
        /// One unit of gradient is `2^scale_bits` in the integers that the noise is added to.
        scale_bits: u32,
        /// Largest batch that those integers have room for.
        batch_rows_max: u64,
        /// Every coordinate of the update is clipped to ± this, after the noise.
        coordinate_max: f64,
        /// Fixed-point bits of the update after the binary point.
        fraction_bits: u32,
    },
    /// Distributed DP-FedAvg: a silo's whole update is the unit. Useless below about a thousand silos.
    ///
    /// # Privacy
    /// Unit: one silo; relation: zero-out, no amplification by sampling. Noise and trust as above.
    DistributedDpFedavg {
        /// The run stops before it would spend more than this.
        epsilon: f64,
        /// At this probability of failure.
        delta: f64,
        /// Standard deviation of the calibrated noise over the sensitivity Δ.
        noise_multiplier: f64,
        /// A silo's update is clipped to this L2 norm.
        clip_norm: f64,
        /// One unit of update is `2^scale_bits` in the ring.
        scale_bits: u32,
        /// As in [`Privacy::DistributedDpSgd`].
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        remove_excess_noise: bool,
        /// Let the clip norm follow a quantile of the norms, from `clip_norm` on.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        adaptive_clip: Option<AdaptiveClipping>,
    },
    /// Central DP-FedAvg: silos clip, the coordinator adds the noise to the sum that it opens.
    ///
    /// # Privacy
    /// Unit: one silo; relation: zero-out, no amplification by sampling. It holds against everybody but the coordinator,
    /// which sees exact sums and has to be trusted to add the noise.
    CentralDpFedavg {
        /// The run stops before it would spend more than this.
        epsilon: f64,
        /// At this probability of failure.
        delta: f64,
        /// Standard deviation of the noise over the sensitivity Δ.
        noise_multiplier: f64,
        /// A silo's update is clipped to this L2 norm.
        clip_norm: f64,
        /// One unit of update is `2^scale_bits` in the ring.
        scale_bits: u32,
        /// Let the clip norm follow a quantile of the norms, from `clip_norm` on.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        adaptive_clip: Option<AdaptiveClipping>,
    },
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

/// A privacy mode's name, as plans and policies write it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PrivacyMode {
    /// [`Privacy::Fedavg`]
    Fedavg,
    /// [`Privacy::DistributedDpSgd`]
    DistributedDpSgd,
    /// [`Privacy::DistributedDpFedavg`]
    DistributedDpFedavg,
    /// [`Privacy::SiloDpSgd`]
    SiloDpSgd,
    /// [`Privacy::CentralDpFedavg`]
    CentralDpFedavg,
}

impl PrivacyMode {
    /// Its name in plans.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fedavg => "fedavg",
            Self::DistributedDpSgd => "distributed_dp_sgd",
            Self::DistributedDpFedavg => "distributed_dp_fedavg",
            Self::SiloDpSgd => "silo_dp_sgd",
            Self::CentralDpFedavg => "central_dp_fedavg",
        }
    }

    /// What one unit of the promise is.
    pub fn unit(self) -> &'static str {
        match self {
            Self::Fedavg => "none",
            Self::DistributedDpSgd | Self::SiloDpSgd => "record",
            Self::DistributedDpFedavg | Self::CentralDpFedavg => "silo",
        }
    }

    /// The neighbouring relation of the promise.
    pub fn relation(self) -> &'static str {
        match self {
            Self::Fedavg => "none",
            Self::DistributedDpSgd | Self::SiloDpSgd => "add or remove one record",
            Self::DistributedDpFedavg | Self::CentralDpFedavg => {
                "zero-out: one silo's contribution replaced by zero"
            }
        }
    }

    /// Who adds the noise.
    pub fn noise_by(self) -> &'static str {
        match self {
            Self::Fedavg => "nobody",
            Self::SiloDpSgd => "every silo, in full",
            Self::CentralDpFedavg => "the coordinator, to the sum that it has opened",
            Self::DistributedDpSgd | Self::DistributedDpFedavg => "every silo, a share each",
        }
    }
}

impl std::fmt::Display for PrivacyMode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
